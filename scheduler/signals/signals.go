// Package signals reads numbers that a rule goes by from files and URLs, again and again.
package signals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxBody is how much of a source is read: a number, and space around it.
	maxBody = 256
	// timeout of one reading.
	timeout = 5 * time.Second
	// MaxAge is for how long a number counts when it cannot be read again.
	MaxAge = time.Minute
)

// Watcher keeps the newest numbers of some sources.
type Watcher struct {
	sources map[string]string
	every   time.Duration
	log     *slog.Logger
	client  http.Client

	mu     sync.Mutex
	values map[string]reading
}

type reading struct {
	value float64
	at    time.Time
	err   string // of the newest attempt; "": it went well
}

// Check says whether a source can be one: an http or https URL, or the path of a file.
func Check(source string) error {
	if source == "" {
		return errors.New("an empty source: want a file or an http(s) URL")
	}
	if !strings.Contains(source, "://") {
		return nil
	}
	u, err := url.Parse(source)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s: want a file or an http(s) URL", source)
	}
	return nil
}

// New prepares to read sources, by name, each every so often.
func New(sources map[string]string, every time.Duration, log *slog.Logger) *Watcher {
	return &Watcher{sources: sources, every: every, log: log, values: make(map[string]reading)}
}

// Run reads until ctx ends. A slow source holds up no other.
func (w *Watcher) Run(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	for name, source := range w.sources {
		group.Go(func() {
			ticker := time.NewTicker(w.every)
			defer ticker.Stop()
			for {
				value, err := w.read(ctx, source)
				if ctx.Err() != nil {
					return
				}
				w.note(name, value, err, time.Now())
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
}

func (w *Watcher) note(name string, value float64, err error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.values[name]
	text := ""
	if err != nil {
		text = err.Error()
	} else {
		r.value, r.at = value, now
	}
	if text != r.err { // once, and not each second
		if err != nil {
			w.log.Warn("a signal cannot be read", "signal", name, "error", err)
		} else {
			w.log.Info("a signal can be read again", "signal", name, "value", value)
		}
	}
	r.err = text
	w.values[name] = r
}

// Values are the numbers that are not too old.
func (w *Watcher) Values(now time.Time) map[string]float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	values := make(map[string]float64, len(w.values))
	for name, r := range w.values {
		if !r.at.IsZero() && now.Sub(r.at) <= MaxAge {
			values[name] = r.value
		}
	}
	return values
}

// read returns the number that a source holds.
func (w *Watcher) read(ctx context.Context, source string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !strings.Contains(source, "://") {
		return readFile(ctx, source)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return 0, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the server answers %s", response.Status)
	}
	return parse(response.Body)
}

// readFile reads the number in a file. A named pipe that nobody writes to does not hold it up.
func readFile(ctx context.Context, name string) (float64, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	return parse(f)
}

// parse reads a number with nothing but space around it.
func parse(r io.Reader) (float64, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return 0, err
	}
	if len(text) > maxBody {
		return 0, fmt.Errorf("more than %d bytes, where a number was expected", maxBody)
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil || value-value != 0 {
		return 0, fmt.Errorf("%q, where a number was expected", strings.TrimSpace(string(text)))
	}
	return value, nil
}
