// Package workers is the list of those who may mine: a file with a worker's name and,
// if it needs one, its password on each line.
//
//	rig1 s3cret
//	farm.*  another      # every name that begins with "farm."
//	guest                # any password
//
// A comment begins with a word of its own: passwords may have # in them. The file is read
// again when it changes; a faulty new version leaves the old one in force.
package workers

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Refusals.
var (
	ErrUnknown  = errors.New("the worker is not in the list")
	ErrPassword = errors.New("wrong password")
)

// lookInterval is how seldom the file is looked at.
const lookInterval = time.Second

// List is a workers file in force.
type List struct {
	path  string
	onErr func(error)

	mu      sync.Mutex // guards the rest
	looking bool       // somebody is, with what is in force in the hands of the others
	looked  time.Time
	state   os.FileInfo
	workers *workers
}

// workers are what a file says.
type workers struct {
	named    map[string][]string // passwords by name; "": any
	prefixes []prefix
}

// prefix is that of many names, with their password.
type prefix struct{ name, password string }

// Open reads the file. onError hears of faults in later versions.
func Open(path string, onError func(error)) (*List, error) {
	l := &List{path: path, onErr: onError}
	state, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("workers file: %w", err)
	}
	if l.workers, err = read(path); err != nil {
		return nil, err
	}
	l.state, l.looked = state, time.Now()
	return l, nil
}

func read(path string) (*workers, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("workers file: %w", err)
	}
	w, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("workers file %s: %w", path, err)
	}
	return w, nil
}

func parse(data []byte) (*workers, error) {
	w := &workers{named: make(map[string][]string)}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		// A comment begins with a word: passwords may have "#" in them.
		if i := slices.IndexFunc(fields, func(word string) bool { return word[0] == '#' }); i >= 0 {
			fields = fields[:i]
		}
		switch len(fields) {
		case 0:
			continue
		case 1:
			fields = append(fields, "")
		case 2:
		default:
			return nil, fmt.Errorf("line %d: %d words, want a name and perhaps a password", number, len(fields))
		}
		if name, many := strings.CutSuffix(fields[0], "*"); many {
			w.prefixes = append(w.prefixes, prefix{name, fields[1]})
		} else {
			w.named[name] = append(w.named[name], fields[1])
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return w, nil
}

// Authorize decides on a worker.
func (l *List) Authorize(user, password string) error {
	l.refresh(time.Now())
	l.mu.Lock()
	w := l.workers
	l.mu.Unlock()
	refusal := ErrUnknown
	for _, want := range w.named[user] {
		if fits(want, password) {
			return nil
		}
		refusal = ErrPassword
	}
	for _, p := range w.prefixes {
		if !strings.HasPrefix(user, p.name) {
			continue
		}
		if fits(p.password, password) {
			return nil
		}
		refusal = ErrPassword
	}
	return refusal
}

func fits(want, password string) bool {
	return want == "" || subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
}

// refresh looks whether the file has changed. A disk that hangs holds up one login, not all.
func (l *List) refresh(now time.Time) {
	l.mu.Lock()
	if l.looking || now.Sub(l.looked) < lookInterval {
		l.mu.Unlock()
		return
	}
	l.looking, l.looked = true, now
	before := l.state
	l.mu.Unlock()

	state, fresh, err := reread(l.path, before)

	l.mu.Lock()
	l.looking, l.state = false, state
	if fresh != nil {
		l.workers = fresh
	}
	l.mu.Unlock()
	if err != nil && l.onErr != nil {
		l.onErr(err)
	}
}

// reread reads the file if it is another than before; nil: it is not, or faulty. A fault is
// told once, that there is no file each time.
func reread(path string, before os.FileInfo) (state os.FileInfo, fresh *workers, err error) {
	if state, err = os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("workers file: %w", err)
	}
	if before != nil && os.SameFile(state, before) && state.ModTime().Equal(before.ModTime()) && state.Size() == before.Size() {
		return state, nil, nil
	}
	fresh, err = read(path)
	return state, fresh, err
}
