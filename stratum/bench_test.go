package stratum

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum/merkle"
)

// blackHole is a connection that nothing comes from and everything is lost in.
type blackHole struct{ net.Conn }

func (blackHole) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (blackHole) Close() error         { return nil }

// loggedIn is a connection whose lines can be handled without a socket.
func loggedIn(t testing.TB, p Handler, opts ServerOptions) *Conn {
	t.Helper()
	s := NewServer(opts, p)
	c := newConn(s, blackHole{})
	c.cork()
	c.needInput()
	for _, line := range []string{subscribeLine, authorizeLine} {
		if err := c.handle([]byte(strings.TrimSpace(line))); err != nil {
			t.Fatal(err)
		}
	}
	s.jobIDs.add("4f1a")
	return c
}

// submitOnce handles a share line and throws the reply away.
func submitOnce(t testing.TB, c *Conn, line []byte) {
	if err := c.handle(line); err != nil {
		t.Fatal(err)
	}
	c.judge()
	c.buffer.b = c.buffer.b[:0]
}

var shareLine = []byte(`{"id":4,"method":"mining.submit","params":["me","4f1a","0102030405060708","6553f100","10015793","00c0e000"]}`)

func TestSubmitDoesNotAllocate(t *testing.T) {
	for name, verdict := range map[string]error{"accepted": nil, "refused": &Error{CodeStale, "Stale share"}} {
		c := loggedIn(t, &testPool{submit: func(*Conn, *Share) error { return verdict }}, ServerOptions{})
		if n := testing.AllocsPerRun(1000, func() { submitOnce(t, c, shareLine) }); n != 0 {
			t.Errorf("%s: %v allocations per share", name, n)
		}
	}
}

// BenchmarkSubmit is one share from line to reply, without hashing and socket.
func BenchmarkSubmit(b *testing.B) {
	c := loggedIn(b, &testPool{}, ServerOptions{})
	b.ReportAllocs()
	for b.Loop() {
		submitOnce(b, c, shareLine)
	}
}

// BenchmarkSubmitWithHeader adds what a pool does: header of a 12-step branch and
// a 300-byte coinbase, hash, target.
func BenchmarkSubmitWithHeader(b *testing.B) {
	job := simnetJob()
	job.Coinbase2 = make([]byte, 300-12-len(job.Coinbase1))
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	extranonce1, scratch, target := []byte{1, 2, 3, 4}, []byte(nil), MaxTarget
	c := loggedIn(b, &testPool{submit: func(_ *Conn, s *Share) error {
		version, err := job.ShareVersion(DefaultVersionMask, s)
		if err != nil {
			return err
		}
		var header [80]byte
		header, scratch = job.HeaderBytes(scratch, extranonce1, s.Extranonce2, version, s.Time, s.Nonce)
		if hash := merkle.Double(header[:]); !target.MetBy(&hash) {
			return errJobNotFound
		}
		return nil
	}}, ServerOptions{})
	b.ReportAllocs()
	for b.Loop() {
		submitOnce(b, c, shareLine)
	}
}

func BenchmarkEncodeJob(b *testing.B) {
	job := simnetJob()
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	for b.Loop() {
		EncodeJob(job)
	}
}

// BenchmarkLoopback is shares over sockets: a generator in this process sends them
// in bunches and waits for the replies.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct{ conns, bunch int }{{1, 1}, {16, 1}, {16, 32}, {500, 4}} {
		b.Run(fmt.Sprintf("conns=%d/bunch=%d", c.conns, c.bunch), func(b *testing.B) {
			_, addr := startServer(b, ServerOptions{Limits: Limits{MessageRate: -1}}, &testPool{})
			miners := make([]*rawMiner, c.conns)
			for i := range miners {
				miners[i] = dialRaw(b, addr)
				miners[i].login()
			}
			bunch := []byte(strings.Repeat(string(shareLine)+"\n", c.bunch))
			replies := make([]byte, (len(submitReply)+1)*c.bunch)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, m := range miners {
				wg.Go(func() {
					answer := make([]byte, len(replies))
					for left.Add(-int64(c.bunch)) > -int64(c.bunch) {
						if _, err := m.Write(bunch); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(m.Conn, answer); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "shares/s")
		})
	}
}

const crowdEnv = "LODE_STRATUM_CROWD"

// crowd is the other process of BenchmarkCrowd: it logs n miners in at addr, says
// so, and tells of each job when the last miner had it.
func crowd(addr string, n int) error {
	type arrival struct {
		job string
		at  time.Time
	}
	arrivals := make(chan arrival, n)
	limit := make(chan struct{}, 200)
	var loggedIn atomic.Int64
	for i := range n {
		limit <- struct{}{}
		// One address has not enough ports for all.
		from := &net.TCPAddr{IP: net.IPv4(127, 0, byte(i/20_000), 1)}
		conn, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", addr)
		if err != nil {
			return err
		}
		go func() {
			io.WriteString(conn, subscribeLine+authorizeLine)
			r := bufio.NewReaderSize(conn, 2048)
			for lines := 0; ; lines++ {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if lines == 1 {
					<-limit
					if loggedIn.Add(1) == int64(n) {
						fmt.Println("ready")
					}
				}
				if _, rest, ok := bytes.Cut(line, []byte(`notify","params":["`)); ok {
					id, _, _ := bytes.Cut(rest, []byte(`"`))
					arrivals <- arrival{string(id), time.Now()}
				}
			}
		}()
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // the benchmark has ended
		os.Exit(0)
	}()
	counts := map[string]int{}
	for a := range arrivals {
		if counts[a.job]++; counts[a.job] == n {
			fmt.Println(a.job, a.at.UnixNano())
			delete(counts, a.job)
		}
	}
	return nil
}

// BenchmarkCrowd has idle miners in another process and broadcasts clean jobs, with
// a difficulty each. It tells the memory that a connection costs this process, and
// how long a job takes to the last write and to the last miner. It needs as many
// file descriptors as miners.
func BenchmarkCrowd(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 50_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) { benchmarkCrowd(b, n) })
	}
}

func benchmarkCrowd(b *testing.B, n int) {
	if files := openFilesLimit(); files < uint64(n)+100 {
		b.Skipf("%d connections need more than the %d open files that are allowed", n, files)
	}
	server, addr := startServer(b, ServerOptions{Limits: Limits{Pending: -1, PerAddress: -1}}, &testPool{})
	before := residentBytes(b)
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", crowdEnv, addr, n))
	other.Stderr = os.Stderr
	stdin, err := other.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := other.Start(); err != nil {
		b.Fatal(err)
	}
	defer other.Wait()
	defer stdin.Close()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		b.Fatal("the other process ended")
	}
	job := simnetJob()
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	job.Coinbase2 = make([]byte, 200)
	var writes, reads []time.Duration
	k := 0
	broadcast := func() {
		job.ID = fmt.Sprintf("j%d", k)
		k++
		encoded := EncodeJob(job)
		result := server.Broadcast(encoded, func(c *Conn) {
			c.SetDifficulty(1)
			c.Notify(encoded)
		})
		if result.Conns != n || !lines.Scan() {
			b.Fatalf("broadcast %+v", result)
		}
		var at int64
		if _, err := fmt.Sscanf(lines.Text(), job.ID+" %d", &at); err != nil {
			b.Fatal(lines.Text())
		}
		writes = append(writes, result.Latency)
		reads = append(reads, time.Unix(0, at).Sub(encoded.Since))
	}
	for range 3 {
		broadcast()
	}
	writes, reads = nil, nil
	cpu := cpuTime()
	perConn := float64(residentBytes(b)-before) / float64(n)
	for b.Loop() {
		broadcast()
	}
	cpu = cpuTime() - cpu
	slices.Sort(writes)
	slices.Sort(reads)
	b.ReportMetric(perConn, "B/conn")
	b.ReportMetric(float64(cpu.Microseconds())/float64(len(writes)*n), "cpu-us/conn")
	b.ReportMetric(float64(writes[len(writes)/2].Microseconds())/1e3, "ms-last-write")
	b.ReportMetric(float64(reads[len(reads)/2].Microseconds())/1e3, "ms-last-miner")
	b.ReportMetric(float64(reads[len(reads)-1].Microseconds())/1e3, "ms-last-miner-max")
}

// residentBytes is the memory of this process after a collection.
func residentBytes(b *testing.B) int64 {
	for range 4 { // stacks shrink by half each time
		runtime.GC()
	}
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("the memory of a process is known on Linux only")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
