package mesoswire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
	"go.uber.org/goleak"

	"lode/mesoswire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, change func(*mesoswire.Config), h http.Handler) *mesoswire.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	config := mesoswire.Config{URL: server.URL + "/api/v1/scheduler", Authorization: "Basic eDp5", UserAgent: "test"}
	if change != nil {
		change(&config)
	}
	c, err := mesoswire.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func subscribe() *scheduler.Call {
	return calls.Subscribe(&mesos.FrameworkInfo{User: "nobody", Name: "test"})
}

func read(t *testing.T, r *http.Request) *scheduler.Call {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	call := new(scheduler.Call)
	if err == nil {
		err = call.Unmarshal(b)
	}
	if err != nil {
		t.Error(err)
	}
	return call
}

func TestCall(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    mesoswire.StatusError // Code 0: none
	}{
		{"accepted", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Authorization") != "Basic eDp5" {
				w.WriteHeader(http.StatusUnsupportedMediaType)
			}
			w.WriteHeader(http.StatusAccepted)
		}, mesoswire.StatusError{}},
		{"200 without a body, as for UPDATE_FRAMEWORK", func(http.ResponseWriter, *http.Request) {}, mesoswire.StatusError{}},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Failed to validate:\n  because", http.StatusBadRequest)
		}, mesoswire.StatusError{Code: 400, Text: "Failed to validate: because"}},
		{"too many", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, mesoswire.StatusError{Code: 429, After: 7 * time.Second}},
		{"redirected", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "//other:5050/x")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, mesoswire.StatusError{Code: 307, Location: "//other:5050/x"}},
		{"a page for people", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "<html>")
		}, mesoswire.StatusError{Code: 404, Text: "a page for people; is this a Mesos master or agent?"}},
		{"a long text", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		}, mesoswire.StatusError{Code: 500, Text: strings.Repeat("x", 4<<10)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(t, nil, test.handler)
			check := func(err error) {
				t.Helper()
				var status *mesoswire.StatusError
				switch {
				case test.want.Code == 0:
					if err != nil {
						t.Error(err)
					}
				case !errors.As(err, &status) || *status != test.want:
					t.Errorf("%v", err)
				}
			}
			check(c.Call(t.Context(), calls.Revive()))
			// And the same through a pipe.
			p, err := c.OpenPipe(t.Context(), "stream")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := errors.Join(p.Send(calls.Revive()), p.Flush()); err != nil {
				t.Fatal(err)
			}
			check(p.Answer())
		})
	}
}

func TestPipeKeepsOrderAndDoesNotWait(t *testing.T) {
	const n = 500
	var got []string
	answer := make(chan struct{})
	c := client(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-answer // all calls are on their way before the first answer
		if r.Header.Get("Mesos-Stream-Id") != "stream" || r.Header.Get("Authorization") != "Basic eDp5" || r.URL.Path != "/api/v1/scheduler" {
			t.Errorf("%v %v", r.URL, r.Header)
		}
		call := read(t, r)
		got = append(got, call.Kill.TaskID.Value)
		if len(got)%7 == 0 {
			http.Error(w, call.Kill.TaskID.Value, http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	p, err := c.OpenPipe(t.Context(), "stream")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range n {
		if err := p.Send(calls.Kill(fmt.Sprint("t", i), "a")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	close(answer)
	for i := range n {
		err := p.Answer()
		var status *mesoswire.StatusError
		refused := errors.As(err, &status)
		if refused != ((i+1)%7 == 0) || refused && status.Text != fmt.Sprint("t", i) || !refused && err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	for i, task := range got {
		if task != fmt.Sprint("t", i) {
			t.Fatalf("call %d was of %s", i, task)
		}
	}
}

// rawServer answers one connection with bytes.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func TestPipeBoundsAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"endless header":         "HTTP/1.1 202 Accepted\r\nX: " + strings.Repeat("x", 1<<20),
		"endless headers":        "HTTP/1.1 202 Accepted\r\n" + strings.Repeat("X-Y: z\r\n", 1<<17),
		"continue, continue, …":  strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1<<15),
		"no HTTP":                "hello\r\n\r\n",
		"end in the header":      "HTTP/1.1 202 Acc",
		"nothing":                "",
		"a status beyond HTTP":   "HTTP/1.1 99999 What\r\n\r\n",
		"a length that is wrong": "HTTP/1.1 202 Accepted\r\nContent-Length: -1\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address := rawServer(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, answer)
				}
			})
			c, err := mesoswire.NewClient(mesoswire.Config{URL: "http://" + address + "/"})
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.OpenPipe(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := errors.Join(p.Send(calls.Revive()), p.Flush()); err != nil {
				t.Fatal(err)
			}
			var status *mesoswire.StatusError
			if err := p.Answer(); err == nil || errors.As(err, &status) {
				t.Errorf("%v", err)
			}
			if err := p.Answer(); err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

// After an answer whose text does not end nothing else is expected.
func TestPipeEndsAfterALongText(t *testing.T) {
	c := client(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				return
			}
		}
	}))
	p, err := c.OpenPipe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := errors.Join(p.Send(calls.Revive()), p.Flush()); err != nil {
		t.Fatal(err)
	}
	var status *mesoswire.StatusError
	if err := p.Answer(); !errors.As(err, &status) || status.Code != 400 {
		t.Errorf("%v", err)
	}
	if err := p.Answer(); err == nil || errors.As(err, &status) {
		t.Errorf("%v", err)
	}
}

func TestOverTLSAndProxies(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that knows no certificate
	server.StartTLS()
	defer server.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host == "" {
			t.Errorf("the proxy is asked for %s, want a whole URL", r.URL)
		}
		if user, _, _ := basicProxy(r); user != "u" {
			t.Errorf("the proxy is asked by %q", user)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer plain.Close()
	var tunnels int
	var tunnelled sync.WaitGroup
	connect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels++
		to, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n")
		tunnelled.Go(func() { _, _ = io.Copy(to, from); to.Close() })
		tunnelled.Go(func() { _, _ = io.Copy(from, to); from.Close() })
	}))
	defer connect.Close()
	tlsConfig := server.Client().Transport.(*http.Transport).TLSClientConfig
	via := func(u string) func(*http.Request) (*url.URL, error) {
		parsed, err := url.Parse(strings.Replace(u, "://", "://u:p@", 1))
		return func(*http.Request) (*url.URL, error) { return parsed, err }
	}
	for name, config := range map[string]mesoswire.Config{
		"TLS":                 {URL: server.URL, TLS: tlsConfig},
		"TLS through a proxy": {URL: server.URL, TLS: tlsConfig, Proxy: via(connect.URL)},
		"through a proxy":     {URL: "http://master.invalid:5050/x", Proxy: via(plain.URL)},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := mesoswire.NewClient(config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			p, err := c.OpenPipe(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for range 3 {
				if err := errors.Join(p.Send(calls.Revive()), p.Flush(), p.Answer()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if tunnels != 1 {
		t.Errorf("%d tunnels", tunnels)
	}
	t.Run("a certificate that nobody knows", func(t *testing.T) {
		c, err := mesoswire.NewClient(mesoswire.Config{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.OpenPipe(t.Context(), ""); err == nil {
			p.Close()
			t.Error("it is taken")
		}
	})
	server.CloseClientConnections()
	tunnelled.Wait()
}

func basicProxy(r *http.Request) (user, password string, ok bool) {
	r = r.Clone(context.Background())
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	return r.BasicAuth()
}

func TestStream(t *testing.T) {
	events := make(chan string)
	c := client(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if call := read(t, r); call.Type != scheduler.Call_SUBSCRIBE {
			t.Errorf("%s call", call.Type)
		}
		w.Header().Set("Content-Type", mesoswire.MediaType)
		w.Header().Set("Mesos-Stream-Id", "s1")
		w.WriteHeader(http.StatusOK)
		flusher := w.(http.Flusher)
		flusher.Flush()
		for e := range events {
			fmt.Fprint(w, e)
			flusher.Flush()
		}
	}))
	s, err := c.Subscribe(t.Context(), subscribe(), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.ID != "s1" {
		t.Errorf("stream %q", s.ID)
	}
	events <- "1\na"
	if b, err := s.Next(); string(b) != "a" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	s.Alive(0)
	time.Sleep(300 * time.Millisecond) // there is no hurry
	events <- "1\nb"
	if b, err := s.Next(); string(b) != "b" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	s.Alive(100 * time.Millisecond)
	if _, err := s.Next(); !errors.Is(err, mesoswire.ErrSilent) {
		t.Errorf("%v", err)
	}
	close(events)
}

func TestAbortedStreamSaysWhy(t *testing.T) {
	done := make(chan struct{})
	c := client(t, nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mesoswire.MediaType)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-done
	}))
	defer close(done)
	s, err := c.Subscribe(t.Context(), subscribe(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	why := errors.New("why")
	s.Abort(why)
	if _, err := s.Next(); err != why {
		t.Errorf("%v", err)
	}
}

func TestNewClientRefusesWhatIsNoURL(t *testing.T) {
	for _, u := range []string{"", "host:5050", "ftp://host/", "http://", "http://%"} {
		if _, err := mesoswire.NewClient(mesoswire.Config{URL: u}); err == nil {
			t.Errorf("%q is taken", u)
		}
	}
}
