package scheduler

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lode/history"
	"lode/scheduler/artifact"
	"lode/scheduler/control"
	"lode/scheduler/dashboard"
	"lode/scheduler/driver"
	"lode/web"
)

// served is a pattern of http.ServeMux with who answers it.
type served struct {
	pattern string
	handler http.Handler
}

// handlers are all that the scheduler answers. Who has no token, where there are any,
// gets the page without its contents, the executor, and whether the scheduler is well.
func (s *Scheduler) handlers() []served {
	c := s.controlConfig()
	page := web.Handler(web.Cluster)
	return []served{
		{"/api/v1/", control.New(c)},
		{"GET " + web.DocumentPath, control.Protect(c, web.Document(func() any {
			return dashboard.Make(s.Status(), s.Control())
		}))},
		{"GET " + history.Path, control.Protect(c, s.history)},
		{"GET /metrics", control.Protect(c, promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))},
		{"GET /healthz", http.HandlerFunc(s.serveHealth)},
		{"GET /readyz", http.HandlerFunc(s.serveReady)},
		{"GET /livez", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })},
		{artifact.Prefix, http.HandlerFunc(s.serveArtifact)},
		{"GET /{$}", page},
		{"GET " + web.AssetPrefix, page},
	}
}

func (s *Scheduler) routes() http.Handler {
	mux := http.NewServeMux()
	for _, h := range s.handlers() {
		mux.Handle(h.pattern, h.handler)
	}
	return timely(s.plainBounds(mux))
}

func (s *Scheduler) serveHealth(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	connected, master, reason := s.core.Link()
	problems := s.core.Problems()
	s.mu.Unlock()
	if since, err := s.ledger.trouble(); err != nil {
		problems = append(problems, storeProblem(since, err))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !connected {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "not subscribed at a Mesos master: %s\n", reason)
		return
	}
	if len(problems) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, p := range problems {
			fmt.Fprintf(w, "since %s: %s\n", p.Since.UTC().Format(time.RFC3339), p.Text)
		}
	}
	fmt.Fprintf(w, "subscribed at %s\n", master)
}

// findAddress finds out where the listener is reached.
func (s *Scheduler) findAddress() (err error) {
	s.advertised, err = s.advertise()
	return err
}

// advertise returns host:port under which agents reach the artifact server.
func (s *Scheduler) advertise() (string, error) {
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return "", fmt.Errorf("address of the listener: %w", err)
	}
	if a := s.config.ArtifactAdvertise; a != "" {
		address, err := completeHostPort(a, port)
		if err != nil {
			return "", &ConfigError{err}
		}
		return address, nil
	}
	out := outbound(s.config.Masters)
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() {
		if out == nil {
			return "", fmt.Errorf("cannot find out under which address agents reach this machine: "+
				"no route to a master of %s; name it (--artifact-advertise HOST:PORT)", strings.Join(s.config.Masters, ", "))
		}
		return net.JoinHostPort(out.String(), port), nil
	}
	if ip.IsLoopback() && out != nil && !out.IsLoopback() {
		s.log.Warn("agents on other machines cannot fetch the executor: the listener is on loopback",
			"listen", s.listener.Addr().String(), "use", "--listen :"+port+" or --artifact-advertise HOST:PORT")
	}
	return net.JoinHostPort(host, port), nil
}

// completeHostPort adds the port of the listener where an advertised address has none.
func completeHostPort(address, port string) (string, error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		host, p = strings.Trim(address, "[]"), port
	}
	if p == "" || p == "0" {
		p = port
	}
	if _, err := strconv.ParseUint(p, 10, 16); err != nil || host == "" || strings.ContainsAny(host, "/ []@") {
		return "", fmt.Errorf("artifact address %q is not host:port (--artifact-advertise)", address)
	}
	return net.JoinHostPort(host, p), nil
}

// outbound is the address that this machine uses towards the masters; nil: none of
// them can be resolved or routed to. Nothing is sent.
func outbound(masters []string) net.IP {
	for _, host := range driver.Hosts(masters) {
		conn, err := net.Dial("udp", host)
		if err != nil {
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		conn.Close()
		if ok {
			return local.IP
		}
	}
	return nil
}
