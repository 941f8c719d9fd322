// Package top shows a running scheduler at a terminal: the same as its page, redrawn
// every few seconds. Run owns the screen until the user leaves; what is drawn is made
// by view, which knows no terminal.
package top

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gdamore/tcell/v2"

	"lode/scheduler/api"
)

// Options of Run.
type Options struct {
	// Fetch asks for the status.
	Fetch func(context.Context) (*api.Status, error)
	// Interval between two questions.
	Interval time.Duration
	// Screen to draw on; nil: that of the terminal.
	Screen tcell.Screen
	// Mono uses no colours.
	Mono bool
}

// ErrInterrupted is what Run ends with after Ctrl-C: a terminal that is drawn on makes a
// key of it, not a signal.
var ErrInterrupted = errors.New("interrupted")

// answer is a status, or why there is none.
type answer struct {
	status *api.Status
	err    error
}

// Run shows the status until the user leaves (nil), ctx ends, or there is no terminal.
func Run(ctx context.Context, o Options) error {
	screen := o.Screen
	if screen == nil {
		var err error
		if screen, err = tcell.NewScreen(); err != nil {
			return fmt.Errorf("this is no terminal that can be drawn on: %w", err)
		}
	}
	if err := screen.Init(); err != nil {
		return fmt.Errorf("this is no terminal that can be drawn on: %w", err)
	}
	defer screen.Fini()

	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		ask(ctx, o, answers)
	}()
	defer func() {
		cancel()
		<-asked
	}()
	events := make(chan tcell.Event, 16)
	quit := make(chan struct{})
	defer close(quit)
	go screen.ChannelEvents(events, quit)

	v := view{mono: o.Mono}
	for {
		width, height := screen.Size()
		draw(screen, v.lines(width, height))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-answers:
			v.take(a)
		case event, open := <-events:
			if !open {
				return errors.New("the terminal is gone")
			}
			switch e := event.(type) {
			case *tcell.EventResize:
				screen.Sync()
			case *tcell.EventKey:
				if e.Key() == tcell.KeyCtrlC {
					return ErrInterrupted
				}
				if v.key(e.Key(), e.Rune()) {
					return nil
				}
			}
		}
	}
}

// ask asks for the status at each interval.
func ask(ctx context.Context, o Options, answers chan<- answer) {
	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	for {
		var a answer
		a.status, a.err = o.Fetch(ctx)
		select {
		case answers <- a:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

var styles = map[tone]tcell.Style{
	plain:  tcell.StyleDefault,
	strong: tcell.StyleDefault.Bold(true),
	soft:   tcell.StyleDefault.Dim(true),
	head:   tcell.StyleDefault.Reverse(true),
	good:   tcell.StyleDefault.Foreground(tcell.ColorGreen),
	bad:    tcell.StyleDefault.Foreground(tcell.ColorRed).Bold(true),
	accent: tcell.StyleDefault.Foreground(tcell.ColorDarkOrange).Bold(true),
}

func draw(screen tcell.Screen, lines []line) {
	screen.Clear()
	for y, l := range lines {
		x := 0
		for _, part := range l {
			for _, r := range part.text {
				screen.SetContent(x, y, r, nil, styles[part.tone])
				x++
			}
		}
	}
	screen.Show()
}
