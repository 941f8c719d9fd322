package core

import (
	"fmt"
	"log/slog"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// hopelessAfter is how many times in a row tasks of a kind may fail with the same
// message, while none of them works, until it counts as certain that the next one
// will fail as well.
const hopelessAfter = 5

// repeated is how often tasks of a kind failed alike.
type repeated struct {
	message string // with numbers left out: ports and ids differ each time
	count   int
}

// failedAlike notes the message of a task that failed. When it is the same again and
// again, it is told to those who can mend it; launches go on, with growing pauses.
func (c *Core) failedAlike(t *Task, s *mesos.TaskStatus, cause string) {
	k := c.alike[t.Kind]
	text := limit(s.GetMessage(), 300)
	if text == "" {
		text = strings.TrimPrefix(s.GetReason().String(), "REASON_")
	}
	if like := withoutNumbers(text); like != k.message {
		*k = repeated{message: like}
	}
	k.count++
	if k.count < hopelessAfter {
		return
	}
	problem := fmt.Sprintf("%s tasks failed %d times with the same message: %s", t.Kind, k.count, text)
	if o := c.causes[t.Kind+" "+cause]; o != nil && o.output != "" {
		problem += " (" + o.output + ")"
	}
	c.troubled(t.Kind, problem)
	if k.count == hopelessAfter {
		c.notice(slog.LevelError, "tasks fail again and again, and always alike", "kind", t.Kind, "times", k.count, "message", text)
		c.tell(Hopeless{problem})
	}
}

// works notes that a task of a kind does what it is for.
func (c *Core) works(kind string) {
	*c.alike[kind] = repeated{}
	c.settle(kind)
}

// withoutNumbers replaces each run of digits by one sign.
func withoutNumbers(s string) string {
	var b strings.Builder
	digits := false
	for _, r := range s {
		isDigit := r >= '0' && r <= '9'
		if isDigit && !digits {
			b.WriteByte('#')
		}
		if !isDigit {
			b.WriteRune(r)
		}
		digits = isDigit
	}
	return b.String()
}
