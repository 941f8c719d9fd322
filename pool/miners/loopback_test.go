package miners

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/vardiff"
	"lode/stratum"
)

const generatorEnv = "LODE_MINERS_GENERATOR"

// everyHash is a difficulty whose target all hashes meet: all shares are real ones.
const everyHash = 1e-10

// BenchmarkLoopback is shares over sockets, from a generator in another process on the
// same machine: each with an extranonce2 of its own, judged for a full block, with
// accounting, and answered. A miner has at most bunch shares under way, which leave in
// one write: 1 is a farm of miners, more is what proxies downstream and bursts are like.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct{ conns, bunch int }{{1000, 1}, {1000, 4}, {1000, 16}} {
		b.Run(fmt.Sprintf("conns=%d/bunch=%d", c.conns, c.bunch), func(b *testing.B) { benchmarkLoopback(b, c.conns, c.bunch) })
	}
}

func benchmarkLoopback(b *testing.B, conns, bunch int) {
	p := newBench(b, func(o *Options) {
		o.StartDifficulty, o.Vardiff, o.Now = everyHash, vardiff.Config{Min: everyHash, Max: everyHash}, time.Now
		o.Accounts = accounts.New(time.Now)
	})
	// As for a full block: the branch of 4,000 transactions.
	p.inject(b, &stratum.Job{
		Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 120), MerkleBranch: make([]chainhash.Hash, 12),
		Bits: 0x170355f0, Version: 0x20000000, Time: uint32(time.Now().Unix()),
	}, stratum.DefaultVersionMask, true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.server.Serve(b.Context(), l) })
	defer serving.Wait()
	defer p.server.Close()

	generator := exec.Command(os.Args[0], "-test.run=^TestGenerator$")
	generator.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", generatorEnv, l.Addr(), conns, bunch))
	generator.Stderr = os.Stderr
	stdin, err := generator.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := generator.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := generator.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = generator.Wait() }()
	defer func() { _ = stdin.Close() }()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "ready" {
		b.Fatalf("the generator says %q", lines.Text())
	}
	before := p.o.Accounts.Total().Tallies["accepted"].Shares
	b.ResetTimer()
	if _, err := fmt.Fprintln(stdin, b.N); err != nil {
		b.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "done" {
		b.Fatalf("the generator says %q", lines.Text())
	}
	b.StopTimer()
	for name, tally := range p.o.Accounts.Total().Tallies {
		if name != "accepted" && tally.Shares > 0 {
			b.Errorf("%d shares are %s", tally.Shares, name)
		}
	}
	shares := p.o.Accounts.Total().Tallies["accepted"].Shares - before
	if shares < uint64(b.N) {
		b.Errorf("%d of %d shares were accepted", shares, b.N)
	}
	b.ReportMetric(float64(shares)/b.Elapsed().Seconds(), "shares/s")
}

// TestGenerator is the other process of BenchmarkLoopback: it logs miners in, says
// "ready", reads how many shares to send, and says "done" when all are answered.
func TestGenerator(t *testing.T) {
	var address string
	var conns, bunch int
	if _, err := fmt.Sscan(os.Getenv(generatorEnv), &address, &conns, &bunch); err != nil {
		t.Skip("this is a part of BenchmarkLoopback")
	}
	miners := make([]*miner, conns)
	for i := range miners {
		m, err := newMiner(address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.conn.Close() }()
		miners[i] = m
	}
	fmt.Println("ready")
	var shares int64
	if _, err := fmt.Scanln(&shares); err != nil {
		t.Fatal(err)
	}
	// Few threads with many miners each: waiting for every reply by itself would cost the
	// generator as much as the server, on processors that they share.
	const threads = 4
	var left atomic.Int64
	left.Store(shares)
	var wg sync.WaitGroup
	for i := range threads {
		mine := miners[i*conns/threads : (i+1)*conns/threads]
		wg.Go(func() {
			for each := int64(len(mine) * bunch); left.Add(-each) > -each; {
				for _, m := range mine {
					if err := m.submit(bunch); err != nil {
						t.Error(err)
						return
					}
				}
				for _, m := range mine {
					if err := m.replies(bunch); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	fmt.Println("done")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// miner is one connection of the generator.
type miner struct {
	conn  net.Conn
	in    *bufio.Reader
	share stratum.Share
	n     uint64
	out   []byte
}

func newMiner(address string) (*miner, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	m := &miner{conn: conn, in: bufio.NewReaderSize(conn, 4096)}
	m.share = stratum.Share{Worker: "w", Extranonce2: make([]byte, 8)}
	if _, err := io.WriteString(conn, `{"id":1,"method":"mining.subscribe","params":[]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["w",""]}`+"\n"); err != nil {
		return nil, err
	}
	for {
		text, err := m.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line, err := stratum.ParseLine(text)
		if err != nil {
			return nil, err
		}
		if string(line.MethodName()) == "mining.notify" {
			job, err := stratum.ParseNotify(line.Params)
			if err != nil {
				return nil, err
			}
			m.share.JobID, m.share.Time = job.ID, job.Time
			return m, nil
		}
	}
}

// submit sends a bunch of shares.
func (m *miner) submit(bunch int) error {
	m.out = m.out[:0]
	for range bunch {
		m.n++
		binary.BigEndian.PutUint64(m.share.Extranonce2, m.n)
		m.out = stratum.AppendSubmit(m.out, m.n, &m.share)
	}
	_, err := m.conn.Write(m.out)
	return err
}

// replies reads as many.
func (m *miner) replies(bunch int) error {
	for replies := 0; replies < bunch; {
		line, err := m.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.Contains(line, []byte(`"result":true`)):
			replies++
		case !bytes.Contains(line, []byte(`"method"`)):
			return fmt.Errorf("share %s: %s", strconv.FormatUint(m.n, 10), line)
		}
	}
	return nil
}
