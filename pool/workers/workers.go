// Package workers is the list of those who may mine: a file with a worker's name and,
// if it needs one, its password on each line.
//
//	rig1 s3cret
//	farm.*  another      # every name that begins with "farm."
//	guest                # any password
//
// The file is read again when it changes; a faulty new version leaves the old one in
// force.
package workers

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"os"
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
	looked  time.Time
	state   os.FileInfo
	entries []entry
}

type entry struct {
	name, password string
	prefix         bool
}

// Open reads the file. onError hears of faults in later versions.
func Open(path string, onError func(error)) (*List, error) {
	l := &List{path: path, onErr: onError}
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *List) load() error {
	state, err := os.Stat(l.path)
	if err != nil {
		return fmt.Errorf("workers file: %w", err)
	}
	l.state = state
	data, err := os.ReadFile(l.path)
	if err != nil {
		return fmt.Errorf("workers file: %w", err)
	}
	entries, err := parse(data)
	if err != nil {
		return fmt.Errorf("workers file %s: %w", l.path, err)
	}
	l.entries = entries
	return nil
}

func parse(data []byte) ([]entry, error) {
	var entries []entry
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		switch len(fields) {
		case 0:
			continue
		case 1:
			fields = append(fields, "")
		case 2:
		default:
			return nil, fmt.Errorf("line %d: %d words, want a name and perhaps a password", number, len(fields))
		}
		e := entry{name: fields[0], password: fields[1]}
		e.name, e.prefix = strings.CutSuffix(e.name, "*")
		entries = append(entries, e)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return entries, nil
}

// Authorize decides on a worker.
func (l *List) Authorize(user, password string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
	refusal := ErrUnknown
	for _, e := range l.entries {
		if e.name != user && !(e.prefix && strings.HasPrefix(user, e.name)) {
			continue
		}
		if e.password == "" || subtle.ConstantTimeCompare([]byte(e.password), []byte(password)) == 1 {
			return nil
		}
		refusal = ErrPassword
	}
	return refusal
}

func (l *List) refresh() {
	now := time.Now()
	if now.Sub(l.looked) < lookInterval {
		return
	}
	l.looked = now
	state, err := os.Stat(l.path)
	if err == nil && l.state != nil && state.ModTime().Equal(l.state.ModTime()) && state.Size() == l.state.Size() {
		return
	}
	if err := l.load(); err != nil && l.onErr != nil {
		l.onErr(err)
	}
}
