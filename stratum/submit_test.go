package stratum

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestSessionSubmit(t *testing.T) {
	const share = `"method":"mining.submit","params":["me","j","0102030405060708","00000001","00000002","00c0e000"]}`
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(notifyLine("j", nil))
		var ids []string
		for range 9 {
			line := p.read()
			id, rest, _ := strings.Cut(line, ",")
			if rest != share {
				p.t.Errorf("client sent %s", line)
			}
			ids = append(ids, id)
		}
		for i, reply := range []string{
			`,"result":true,"error":null}`,
			`,"result":true,"error":[]}`,
			`,"result":true}`,
			`,"result":false,"error":[23,"too \u001beasy",null]}`,
			`,"result":null,"error":{"code":21,"message":"stale"}}`,
			`,"result":null,"error":"dup"}`,
			`,"result":false,"error":null}`,
			`,"result":null,"error":null}`,
		} {
			p.send(ids[i] + reply)
		}
		p.rest() // the last one is never answered
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s := dialed(t, o)
		defer s.Close()
		a := <-s.Assignments()
		verdicts := make([]chan error, 9)
		for i := range verdicts {
			verdicts[i] = make(chan error, 1)
			if err := s.SubmitAsync(a, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 1, 2, 0x20c0e000, func(err error) { verdicts[i] <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []string{
			"<nil>", "<nil>", "<nil>", "23 too easy", "21 stale", "20 dup", "20 refused without a reason", "20 refused without a reason",
		} {
			err := <-verdicts[i]
			got := fmt.Sprint(err)
			if e := new(Error); errors.As(err, &e) {
				got = fmt.Sprint(e.Code, " ", e.Text)
			}
			if got != want {
				t.Errorf("verdict %d: %s, want %s", i, got, want)
			}
		}
		if err := <-verdicts[8]; !errors.Is(err, ErrDisconnected) || !errors.Is(err, ErrSilent) {
			t.Errorf("unanswered share: %v", err)
		}
		if err := s.Submit(t.Context(), a, make([]byte, 8), 1, 2, 3); !errors.Is(err, ErrDisconnected) {
			t.Errorf("share after the end: %v", err)
		}
	})
}

// The sixth parameter is there exactly if versions are rolled; what the job has
// set of the mask stands in it.
func TestSessionVersionBits(t *testing.T) {
	for _, c := range []struct {
		configure string
		version   uint32
		share     uint32
		want      string
	}{
		{okConfigure, 0x20000000, 0x20000000, `,"00000000"]}`},
		{okConfigure, 0x30400000, 0x30402000, `,"10402000"]}`},
		{`{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"00400000"},"error":null}`, 0x30400000, 0x30400000, `,"00400000"]}`},
		{`{"id":1,"result":null,"error":[-3,"no",null]}`, 0x20000000, 0x20000000, `"00000002"]}`},
	} {
		inPool(t, func(p *poolConn) {
			p.handshake(c.configure, okSubscribe, okAuthorize)
			p.send(notifyLine("j", func(j *Job) { j.Version = c.version }))
			if line := p.read(); !strings.HasSuffix(line, c.want) {
				p.t.Errorf("version %08x of job %08x: %s", c.share, c.version, line)
			}
		}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
			s := dialed(t, o)
			defer s.Close()
			_ = s.Submit(t.Context(), <-s.Assignments(), make([]byte, 8), 1, 2, c.share)
		})
	}
}

func TestSessionBusy(t *testing.T) {
	inPool(t, func(p *poolConn) {
		p.login()
		p.send(notifyLine("j", nil))
		time.Sleep(time.Hour) // reads nothing
	}, func(t *testing.T, o ClientOptions, _ *scriptedPool) {
		s, err := Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		a := <-s.Assignments()
		lost := 0
		for n := 0; ; n++ {
			err := s.SubmitAsync(a, make([]byte, 8), 1, 2, 3, func(error) { lost++ })
			if errors.Is(err, ErrBusy) {
				if n < queueSize {
					t.Errorf("busy after %d shares", n)
				}
				s.Close()
				if lost != n {
					t.Errorf("%d of %d shares were given up", lost, n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// strayPool is a testPool that wants to see the shares of strangers.
type strayPool struct {
	testPool
	strays chan Share
}

func (p *strayPool) SubmitStray(_ *Conn, s *Share) { p.strays <- *s }

// TestStrays: the handler sees shares of workers that are not authorized, and what it may
// think of them they are refused.
func TestStrays(t *testing.T) {
	p := &strayPool{strays: make(chan Share, 10)}
	server := NewServer(ServerOptions{}, p)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	server.start(ours, nil)
	defer server.Close()
	m := bufio.NewReader(theirs)
	ask := func(line string) string {
		if _, err := theirs.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
		reply, err := m.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	submit := func(worker, nonce string) string {
		return ask(`{"id":4,"method":"mining.submit","params":["` + worker + `","4f1a","0102030405060708","6553f100","` + nonce + `"]}` + "\n")
	}
	if reply := submit("me", "1"); !strings.Contains(reply, "[25,") {
		t.Errorf("before subscribe: %s", reply)
	}
	ask(subscribeLine)
	for i, worker := range []string{"me", "m\x7fe", strings.Repeat("m", 256)} {
		if reply := submit(worker, fmt.Sprint(i)); !strings.Contains(reply, "[24,") {
			t.Errorf("worker %q: %s", worker, reply)
		}
	}
	if reply := submit("me", "x"); !strings.Contains(reply, "Malformed nonce") {
		t.Errorf("malformed: %s", reply)
	}
	close(p.strays)
	var got []string
	for s := range p.strays {
		got = append(got, fmt.Sprintf("%s %s %x %x", s.Worker, s.JobID, s.Extranonce2, s.Nonce))
	}
	if want := "[me 4f1a 0102030405060708 0 me 4f1a 0102030405060708 1  4f1a 0102030405060708 2]"; fmt.Sprint(got) != want {
		t.Errorf("the handler saw %q, want %s", got, want)
	}
}
