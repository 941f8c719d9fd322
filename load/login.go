package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"lode/stratum"
)

// Ids of the requests of a login; shares have those from firstShareID on.
const (
	configureID  = 1
	subscribeID  = 2
	authorizeID  = 3
	suggestID    = 4
	pingID       = 5
	firstShareID = 16
)

// login is what a miner sends to begin with: the same for all.
type login struct {
	subscribe []byte // configure and subscribe
	authorize []byte // authorize and suggest_difficulty, after the reply to subscribe
}

func newLogin(o *Options) login {
	var l login
	if !o.NoVersionRolling {
		l.subscribe = fmt.Appendf(l.subscribe, `{"id":%d,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"%08x","version-rolling.min-bit-count":2}]}`+"\n",
			configureID, uint32(stratum.DefaultVersionMask))
	}
	l.subscribe = fmt.Appendf(l.subscribe, `{"id":%d,"method":"mining.subscribe","params":[%s]}`+"\n", subscribeID, quote(o.UserAgent))
	password := o.Password
	if o.Difficulty != 0 && password == "x" {
		// Most pools take one or the other. A real password is left as it is.
		password += ",d=" + difficultyText(o.Difficulty)
	}
	l.authorize = fmt.Appendf(nil, `{"id":%d,"method":"mining.authorize","params":[%s,%s]}`+"\n", authorizeID, quote(o.User), quote(password))
	if o.Difficulty != 0 {
		l.authorize = fmt.Appendf(l.authorize, `{"id":%d,"method":"mining.suggest_difficulty","params":[%s]}`+"\n", suggestID, difficultyText(o.Difficulty))
	}
	return l
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // not reached: strings can be encoded
	}
	return b
}

// difficultyText has no exponent, which not all pools read.
func difficultyText(d stratum.Difficulty) string {
	return strconv.FormatFloat(float64(d), 'f', -1, 64)
}

// errRefused is the pool's no to subscribe or authorize.
var errRefused = errors.New("the pool refuses")

// logIn goes through a login step by step, up to the first job.
func logIn(ctx context.Context, conn net.Conn, l *login) (*bufio.Reader, stratum.Difficulty, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return nil, 0, err
	}
	if _, err := conn.Write(l.subscribe); err != nil {
		return nil, 0, err
	}
	r := bufio.NewReaderSize(conn, 4096)
	difficulty := stratum.Difficulty(1)
	hasJob, authorized := false, false
	for !hasJob || !authorized {
		raw, err := r.ReadBytes('\n')
		if err != nil {
			return nil, 0, err
		}
		line, err := stratum.ParseLine(raw)
		if err != nil {
			return nil, 0, err
		}
		switch string(line.MethodName()) {
		case "mining.notify":
			hasJob = true
		case "mining.set_difficulty":
			if difficulty, err = stratum.ParseDifficulty(line.Params); err != nil {
				return nil, 0, err
			}
		case "":
			id, _ := line.RequestID()
			refusal := line.Refusal()
			switch id {
			case subscribeID:
				if refusal != nil {
					return nil, 0, fmt.Errorf("%w mining.subscribe: %w", errRefused, refusal)
				}
				if _, err := conn.Write(l.authorize); err != nil {
					return nil, 0, err
				}
			case authorizeID:
				if refusal != nil {
					return nil, 0, fmt.Errorf("%w user and password: %w", errRefused, refusal)
				}
				authorized = true
			}
		}
	}
	return r, difficulty, nil
}

// probe logs in once before the load begins, and gives the difficulty that the pool
// gives: that tells a wrong address, user or difficulty from a pool under load.
func probe(ctx context.Context, d *dialer, l *login) (stratum.Difficulty, error) {
	conn, err := d.connect(ctx, miners, 0)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	r, difficulty, err := logIn(ctx, conn, l)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, err
	}
	// The answer to suggest_difficulty may come after the first job.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return 0, err
	}
	for {
		raw, err := r.ReadBytes('\n')
		if err != nil {
			return difficulty, ctx.Err()
		}
		line, err := stratum.ParseLine(raw)
		if err != nil {
			return 0, err
		}
		if string(line.MethodName()) == "mining.set_difficulty" {
			if difficulty, err = stratum.ParseDifficulty(line.Params); err != nil {
				return 0, err
			}
		}
	}
}
