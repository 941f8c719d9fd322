package stratum

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// dialects are ways to write a line of a pool, none of which changes what it means.
var dialects = map[string]func(line string) string{
	"ids as texts":     rewrite(`"id":(\d+),`, `"id":"$1",`),
	"ids as fractions": rewrite(`"id":(\d+),`, `"id":$1.0,`),
	"single quotes":    func(line string) string { return strings.ReplaceAll(line, `"`, `'`) },
	"words of Python": func(line string) string {
		return strings.NewReplacer("null", "None", "true", "True", "false", "False").Replace(line)
	},
	"commas too many":    rewrite(`([\]}])`, `,$1`),
	"a bracket missing":  rewrite(`^({.*)}$`, `$1`),
	"spaces":             rewrite(`([:,\[\]{}])`, " $1\t"),
	"digits with 0x":     rewrite(`"([0-9a-f]{8,})"`, `"0x$1"`),
	"digits with spaces": rewrite(`"([0-9a-f]{8,})"`, `" $1 "`),
	"capital digits": func(line string) string {
		return regexp.MustCompile(`"[0-9a-f]{8,}"`).ReplaceAllStringFunc(line, strings.ToUpper)
	},
	"numbers as texts":   rewrite(`,(\d+)\]`, `,"$1"]`),
	"lists with more":    rewrite(`\]}$`, `,null,"more",{"a":[]}]}`),
	"more members":       rewrite(`^{`, `{"jsonrpc":"2.0","x":{"id":[7]},`),
	"escapes":            func(line string) string { return strings.ReplaceAll(line, "m", `\u006d`) },
	"capital methods":    func(line string) string { return strings.ReplaceAll(line, `"mining.`, `"MINING.`) },
	"a carriage return":  func(line string) string { return line + "\r" },
	"a byte order mark":  func(line string) string { return "\ufeff" + line },
	"a zero byte":        func(line string) string { return line + "\x00" },
	"in a list":          rewrite(`^({.*})$`, `[$1]`),
	"empty lines around": func(line string) string { return "\r\n" + line + "\n\n" },
	"chatter before":     func(line string) string { return "# hello\n" + line },
	"a comma behind":     rewrite(`}$`, `},`),
	"members reversed": func(line string) string {
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method json.RawMessage `json:"method"`
			Params json.RawMessage `json:"params"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if json.Unmarshal([]byte(line), &m) != nil {
			return line
		}
		var list []string
		for _, member := range []struct {
			name  string
			value json.RawMessage
		}{{"error", m.Error}, {"result", m.Result}, {"params", m.Params}, {"method", m.Method}, {"id", m.ID}} {
			if member.value != nil {
				list = append(list, `"`+member.name+`":`+string(member.value))
			}
		}
		return "{" + strings.Join(list, ",") + "}"
	},
}

// TestDialects: whatever several of them come together, the pool is mined at.
func TestDialects(t *testing.T) {
	names := make([]string, 0, len(dialects))
	for name := range dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(r *rapid.T) {
		const lines = 6
		spoken := make([]func(string) string, lines)
		for i := range spoken {
			chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(r, "dialect")
			spoken[i] = func(line string) string {
				for _, name := range chosen {
					line = dialects[name](line)
				}
				return line
			}
		}
		fault := ""
		synctest.Test(t, func(t *testing.T) { fault = mineInDialects(t, spoken) })
		if fault != "" {
			r.Fatal(fault)
		}
	})
}

// mineInDialects mines at a pool that says the reply to configure, that to subscribe, that to
// authorize, a difficulty, a job and the answer to a share in its dialects.
func mineInDialects(t *testing.T, spoken []func(string) string) (fault string) {
	var shares, sent []string
	p := &scriptedPool{t: t}
	say := func(i int, line string) string {
		line = spoken[i](line)
		sent = append(sent, line)
		return line
	}
	p.play = func(p *poolConn) {
		p.expect(wantConfigure)
		p.expect(wantSubscribe)
		p.send(say(0, okConfigure), say(1, okSubscribe))
		p.expect(wantAuthorize)
		p.send(say(2, okAuthorize), say(3, `{"id":null,"method":"mining.set_difficulty","params":[8]}`), say(4, notifyLine("j", nil)))
		line := p.read()
		shares = append(shares, line)
		id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":`), ",")
		p.send(say(5, `{"id":`+id+`,"result":true,"error":null}`))
		p.rest()
	}
	defer p.wg.Wait()
	s, err := Dial(t.Context(), ClientOptions{URL: "stratum+tcp://pool.example:3333", User: "me", Password: "x", Dialer: p.dial, FirstJobTimeout: time.Minute})
	if err != nil {
		return fmt.Sprintf("%v; the pool sent %q", err, sent)
	}
	defer s.Close()
	a := s.Current()
	err = s.Submit(t.Context(), a, make([]byte, 8), a.Job.Time, 9, a.Job.Version|0x4000)
	if err != nil || a.Difficulty != 8 || a.Extranonce2Size != 8 || len(a.Extranonce1) != 4 || len(shares) != 1 || !strings.Contains(shares[0], `"00004000"]`) {
		return fmt.Sprintf("%v; assignment %+v; shares %q; the pool sent %q", err, a, shares, sent)
	}
	return ""
}

// TestServerOfDialects: miners may speak them, too, but for what a first byte or a method
// tells.
func TestServerOfDialects(t *testing.T) {
	var last atomic.Pointer[Share]
	_, addr := startServer(t, ServerOptions{Limits: Limits{GuessTime: -1}}, &testPool{submit: func(_ *Conn, s *Share) error {
		copied := *s
		copied.Extranonce2 = append([]byte{}, s.Extranonce2...)
		last.Store(&copied)
		return nil
	}})
	var names []string
	for name := range dialects {
		if name != "chatter before" && name != "in a list" && name != "capital methods" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	want := fmt.Sprintf("%+v", Share{Worker: "me", JobID: "4f1a", Extranonce2: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Time: 0x6553f100, Nonce: 0x10015793})
	rapid.Check(t, func(r *rapid.T) {
		m := dialRaw(t, addr)
		defer m.Close()
		last.Store(&Share{})
		for _, line := range []string{configureLine, subscribeLine, authorizeLine, submitLine} {
			line = strings.TrimSpace(line)
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(r, "dialect") {
				line = dialects[name](line)
			}
			m.send(line + "\n")
			reply := m.line()
			if strings.Contains(reply, "set_version_mask") {
				reply = m.line()
			}
			if !strings.HasSuffix(reply, `"error":null}`) {
				r.Fatalf("%q: %s", line, reply)
			}
		}
		if got := fmt.Sprintf("%+v", *last.Load()); got != want {
			r.Fatalf("share %s, want %s", got, want)
		}
	})
}
