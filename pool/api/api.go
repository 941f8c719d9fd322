// Package api serves HTTP to whoever comes, at a bounded cost: one answer is computed
// at a time, and then nothing for as long as that took; lists come in pages, made piece
// by piece as the client reads them; connections, headers, bodies, buffers and times are
// bounded, and no address has more than its part of them. What miners feel of it is at most
// half of one processor.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lode/internal/apidoc"
)

// Limits are what a Server puts up with. Zero values are the defaults, which the tags name;
// there is no way to be without. They are flags of lode proxy too (--api-NAME).
//
// The comments give the reason for each default.
type Limits struct {
	// Connections: monitoring has a few.
	Connections int `name:"connections" default:"128" placeholder:"N" help:"Open connections of the HTTP API; for one more the oldest is closed that is not being answered, of the address that has the most."`
	// Requests: a page asks for three things at once, and one is answered at a time.
	Requests int `name:"requests" default:"64" placeholder:"N" help:"Requests at the HTTP API that are answered or wait for their turn; half of the connections at most. One address gets half of them."`
	// Rate: monitoring and some pages ask for ten a second together.
	Rate float64 `name:"rate" default:"200" placeholder:"N" help:"Requests per second that the HTTP API answers, and at once; one address gets half of them. Health checks and the page's own files are never refused, but wait 0.1 s each where their address asks more often."`
	// AnswerTime: a page of workers is 400 KB, and lines of 25 KB/s are rare.
	AnswerTime time.Duration `name:"time" default:"20s" placeholder:"DURATION" help:"Time for an answer of the HTTP API, with its request."`
	// HeaderTime: a header is a packet.
	HeaderTime time.Duration `name:"header-time" default:"5s" placeholder:"DURATION" help:"Time for the header of a request."`
	// RequestTime: bodies are as good as empty.
	RequestTime time.Duration `name:"request-time" default:"10s" placeholder:"DURATION" help:"Time for a request, with its body."`
	// IdleTime: longer than monitoring pauses at most, so that its connection stays.
	IdleTime time.Duration `name:"idle-time" default:"1m" placeholder:"DURATION" help:"Time for which a connection may wait between two requests."`
	// HeaderBytes and BodyBytes: browsers send 1 KB and nothing.
	HeaderBytes int `name:"header-bytes" default:"16384" placeholder:"BYTES" help:"Length of a request's header; 4 KiB more are read before it is refused."`
	BodyBytes   int `name:"body-bytes" default:"4096" placeholder:"BYTES" help:"Length of a request's body."`
	// SocketBytes: the kernel doubles it. A reader who does not read costs so much.
	SocketBytes int `name:"socket-bytes" default:"32768" placeholder:"BYTES" help:"Each of the two buffers of a socket (SO_SNDBUF, SO_RCVBUF)."`
	// Page: 1,000 workers are 400 KB.
	Page int `name:"page" default:"1000" placeholder:"N" help:"Entries of a list in one answer; programs ask for the next page."`
}

func (l *Limits) setDefaults() {
	standard(&l.Connections, 128)
	standard(&l.Requests, 64)
	l.Requests = min(l.Requests, max(l.Connections/2, 1))
	standard(&l.Rate, 200)
	standard(&l.AnswerTime, 20*time.Second)
	standard(&l.HeaderTime, 5*time.Second)
	standard(&l.RequestTime, 10*time.Second)
	standard(&l.IdleTime, time.Minute)
	standard(&l.HeaderBytes, 16<<10)
	standard(&l.BodyBytes, 4<<10)
	standard(&l.SocketBytes, 32<<10)
	standard(&l.Page, 1000)
}

func standard[T int | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// ParseLimits reads limits by their names, as users write them; what is not named has its
// default.
func ParseLimits(values map[string]string) (l Limits, err error) {
	l.setDefaults()
	v := reflect.ValueOf(&l).Elem()
	var names []string
	unknown := maps.Clone(values)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("name")
		names = append(names, name)
		text, ok := values[name]
		if !ok {
			continue
		}
		delete(unknown, name)
		var want string
		switch field := v.Field(i).Addr().Interface().(type) {
		case *time.Duration:
			want = "a duration such as 30s"
			*field, err = time.ParseDuration(text)
		case *float64:
			want = "a number"
			*field, err = strconv.ParseFloat(text, 64)
		case *int:
			want = "a whole number"
			*field, err = strconv.Atoi(text)
		}
		if err != nil {
			return l, fmt.Errorf("limit api-%s: %q: want %s", name, text, want)
		}
	}
	if len(unknown) > 0 {
		return l, fmt.Errorf("unknown limit %q: want api- and one of %s", "api-"+slices.Sorted(maps.Keys(unknown))[0], strings.Join(names, ", "))
	}
	return l, l.Check()
}

// Check reports limits that nobody could live with.
func (l *Limits) Check() error {
	for name, ok := range map[string]bool{
		"connections": l.Connections >= 1, "requests": l.Requests >= 1, "rate": l.Rate > 0 && !math.IsInf(l.Rate, 0),
		"time": l.AnswerTime > 0, "header-time": l.HeaderTime > 0, "request-time": l.RequestTime > 0, "idle-time": l.IdleTime > 0,
		"header-bytes": l.HeaderBytes >= 1, "body-bytes": l.BodyBytes >= 1, "socket-bytes": l.SocketBytes >= 1, "page": l.Page >= 1,
	} {
		if !ok {
			return fmt.Errorf("--api-%s: want more than 0", name)
		}
	}
	return nil
}

// piece is how many entries of a list are made at a time.
const piece = 50

// Server answers requests. Register all routes before Serve.
type Server struct {
	mux      *http.ServeMux
	limits   Limits
	rate     bucket
	turn     chan struct{} // held while an answer is computed
	crossing *http.CrossOriginProtection
	door     *door
	routes   []apidoc.Route
}

// Routes are all that are registered, in that order.
func (s *Server) Routes() []apidoc.Route { return s.routes }

func (s *Server) register(method string, limited bool, d apidoc.Doc, h http.HandlerFunc) {
	s.routes = append(s.routes, apidoc.Route{Method: method, Limited: limited, Doc: d})
	if limited {
		h = s.limited(h)
	}
	s.mux.HandleFunc(method+" "+d.Path, h)
}

// New makes a server without routes.
func New(limits Limits) *Server {
	limits.setDefaults()
	return &Server{
		limits: limits, rate: bucket{rate: limits.Rate},
		mux: http.NewServeMux(), turn: make(chan struct{}, 1),
		crossing: http.NewCrossOriginProtection(), door: newDoor(&limits),
	}
}

// compute runs f when it is the request's turn; false: the client has gone before.
func (s *Server) compute(ctx context.Context, f func()) bool {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	begin := time.Now()
	f()
	rest := time.Since(begin)
	time.AfterFunc(rest, func() { <-s.turn })
	return true
}

// bucket lets rate things happen per second, and at once.
type bucket struct {
	rate float64

	mu    sync.Mutex // guards the rest
	spent float64    // of rate, at a time
	at    time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(b.spent-now.Sub(b.at).Seconds()*b.rate, 0)
	b.at = now
	if b.spent+1 > max(b.rate, 1) {
		return false
	}
	b.spent++
	return true
}

// limited refuses requests beyond Limits.Rate and Limits.Requests, and beyond half of them
// for one address; those that were sent without waiting for an answer go with the connection.
func (s *Server) limited(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if isHasty(r) || !s.rate.take(time.Now()) {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			http.Error(w, "too many requests", http.StatusTooManyRequests)
			return
		}
		done, ok := s.door.answering(r, time.Now())
		if !ok {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			return
		}
		defer done()
		h(w, r)
	}
}

// Cheap registers a GET that costs nothing and is never refused.
func (s *Server) Cheap(d apidoc.Doc, h http.HandlerFunc) { s.register(http.MethodGet, false, d, h) }

// Handle registers a GET whose answer is short: it is gathered, then sent.
func (s *Server) Handle(d apidoc.Doc, h http.Handler) {
	s.register(http.MethodGet, true, d, func(w http.ResponseWriter, r *http.Request) {
		answer := &gathered{header: w.Header(), status: http.StatusOK}
		if s.compute(r.Context(), func() { h.ServeHTTP(answer, r) }) {
			w.WriteHeader(answer.status)
			_, _ = w.Write(answer.body.Bytes()) // the client is gone
		}
	})
}

// gathered is a ResponseWriter that keeps the answer.
type gathered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (g *gathered) Header() http.Header         { return g.header }
func (g *gathered) WriteHeader(status int)      { g.status = status }
func (g *gathered) Write(b []byte) (int, error) { return g.body.Write(b) }

// JSON registers a GET for a value.
func (s *Server) JSON(d apidoc.Doc, get func() any) {
	s.Handle(d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		setJSON(w.Header())
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(get()) // into memory
	}))
}

func setJSON(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
}

// List is what pages are made of.
type List interface {
	Len() int
	At(i int) any
}

// Slice is a List of what is there already.
type Slice[T any] []T

// Len implements List.
func (s Slice[T]) Len() int { return len(s) }

// At implements List.
func (s Slice[T]) At(i int) any { return s[i] }

// List registers a GET for an array, of which ?offset= and ?limit= (Limits.Page at most)
// choose a part. X-Total-Count is the length of the whole, Link names the next page. get
// is called once a request, At in between what is sent.
func (s *Server) List(d apidoc.Doc, get func() List) {
	d.Query = fmt.Sprintf("`offset` (entries to leave out; 0), `limit` (entries, at most `--api-page`; %d)", s.limits.Page)
	d.Answer += " `X-Total-Count` is the length of the whole list, `Link` names the next page."
	d.Errors = "400 no numbers"
	s.register(http.MethodGet, true, d, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		offset, offsetErr := number(query, "offset", 0)
		limit, limitErr := number(query, "limit", s.limits.Page)
		if err := errors.Join(offsetErr, limitErr); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var list List
		if !s.compute(r.Context(), func() { list = get() }) {
			return
		}
		offset = min(offset, list.Len())
		end := offset + min(limit, s.limits.Page, list.Len()-offset)
		setJSON(w.Header())
		w.Header().Set("X-Total-Count", strconv.Itoa(list.Len()))
		if end < list.Len() && end > offset {
			w.Header().Set("Link", fmt.Sprintf(`<%s?offset=%d&limit=%d>; rel="next"`, d.Path, end, end-offset))
		}
		s.write(r.Context(), w, list, offset, end)
	})
}

func (s *Server) write(ctx context.Context, w http.ResponseWriter, list List, from, to int) {
	var b bytes.Buffer
	b.WriteString("[")
	separator := "\n  "
	for i := from; i < to; {
		entries := func() {
			for end := min(i+piece, to); i < end; i++ {
				entry, err := json.MarshalIndent(list.At(i), "  ", "  ")
				if err != nil {
					continue // not reached: what is listed can be encoded
				}
				b.WriteString(separator)
				b.Write(entry)
				separator = ",\n  "
			}
		}
		if !s.compute(ctx, entries) {
			return
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return
		}
		b.Reset()
	}
	if to > from {
		b.WriteString("\n")
	}
	b.WriteString("]\n")
	_, _ = w.Write(b.Bytes()) // the client is gone
}

func number(query url.Values, name string, standard int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s=%.20q: want a number from 0", name, text)
	}
	return n, nil
}

// loopback are the networks of this machine.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Post registers a POST that makes something happen: for clients in the networks (nil:
// this machine), never for pages of other sites that a browser there shows.
func (s *Server) Post(d apidoc.Doc, from []netip.Prefix, do func()) {
	s.register(http.MethodPost, true, d, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !comesFrom(r.RemoteAddr, from):
			http.Error(w, "not from this address: name its network with --notify-from", http.StatusForbidden)
		case s.crossing.Check(r) != nil || from == nil && !localHost(r.Host):
			http.Error(w, "not from pages of other sites", http.StatusForbidden)
		default:
			do()
			w.WriteHeader(http.StatusAccepted)
		}
	})
}

func comesFrom(remote string, networks []netip.Prefix) bool {
	if networks == nil {
		networks = loopback
	}
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, n := range networks {
		if n.Contains(addr.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// localHost reports whether a request's Host is an address or localhost. A browser that
// was led to this machine by a name of somebody else's names that.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// Serve answers until ctx ends; it closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.door.paced(http.MaxBytesHandler(s.mux, int64(s.limits.BodyBytes))),
		ReadHeaderTimeout: s.limits.HeaderTime, ReadTimeout: s.limits.RequestTime,
		WriteTimeout: s.limits.AnswerTime, IdleTimeout: s.limits.IdleTime, MaxHeaderBytes: s.limits.HeaderBytes,
		ConnState: s.door.leave, ConnContext: s.door.enter,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(short) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("HTTP API at %s: %w", l.Addr(), err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
