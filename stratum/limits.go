package stratum

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits are what a Server puts up with. Zero is the default, a negative value no
// limit. The tags are the one place of names, defaults and help: ServerOptions, the
// flags of lode proxy (--limit-NAME), its environment and configuration file, and
// --proxy-limit of lode scheduler all go by them; there, 0 is no limit.
//
// The comments give the reason for each default.
type Limits struct {
	// Connections: 6 KB each, of which a task of 256 MB bears 10,000 with full blocks;
	// the default is for the greater ones, and what the memory bears is up to the pool.
	Connections int `name:"connections" default:"100000" placeholder:"N" help:"Open connections. For one more the oldest is closed that has not logged in for 5 s, or has had no share for 30 s after its login, or for 10 minutes, or has not logged in yet; else the new one is refused."`
	// PerAddress: a stranger at one address cannot have more than this of them; a greater
	// farm behind one needs the flag, and nothing else.
	PerAddress int `name:"connections-per-address" default:"1000" placeholder:"N" help:"Open connections of one address (an IPv6 /64 counts as one); a farm behind NAT needs as many as it has devices. For one more the oldest of them is closed that has not logged in for 5 s, or has had no share for 30 s after its login, or has not logged in yet; else the new one is refused."`
	// Pending: who has not logged in costs memory and gives nothing. So many are on
	// their way when 50,000 miners come back at once. One more, and the oldest goes.
	Pending int `name:"pending" default:"8000" placeholder:"N" help:"Connections that have not logged in; for one more the oldest of them is closed."`
	// Handshakes: 10 to 40 KB each until they are done, which is a second at most.
	Handshakes int `name:"tls-handshakes" default:"500" placeholder:"N" help:"TLS handshakes that have begun; for one more the oldest is closed."`
	// TLSCPUs: of two processors the other seven eighths are for shares. A farm of 5,000 is
	// back within 5 s with an ECDSA key, within 30 s with RSA.
	TLSCPUs float64 `name:"tls-cpus" default:"0.25" placeholder:"N" help:"Processors that TLS handshakes take at most, all together; others wait for their turn, addresses behind the others the more of their handshakes brought no miner."`
	// TLSWait: attackers who stop amid a handshake have gone by then, or wait; devices wait
	// for 5 s and longer.
	TLSWait time.Duration `name:"tls-wait" default:"3s" placeholder:"DURATION" help:"For how long a TLS handshake waits before it begins, if four of its address (and four more for each miner that it has) brought no miner lately, or not yet; a quarter of it after the first, and so on."`

	// Handshake: miners log in within a second; over a satellite, within a few.
	Handshake time.Duration `name:"handshake-time" default:"30s" placeholder:"DURATION" help:"Time from the connection to the login (subscribe and authorize)."`
	// LineTime: a line is a packet or two.
	LineTime time.Duration `name:"line-time" default:"20s" placeholder:"DURATION" help:"Time from a line's first byte to its end."`
	// Idle: a miner sends several shares a minute; one that was given too great a
	// difficulty, some an hour. A dead one is found sooner by keep-alive probes.
	Idle time.Duration `name:"idle-time" default:"1h" placeholder:"DURATION" help:"Time for which a miner may send nothing."`
	// Unread: nobody's receive window is shut for so long who means to read.
	Unread time.Duration `name:"unread-time" default:"10s" placeholder:"DURATION" help:"Time for which a miner may leave what it was sent unread; six times that where all of it fits into the socket's buffer."`

	// LineLength: the longest known line of a miner, a submit with a name of 255
	// bytes, is below 1 KiB.
	LineLength int `name:"line-length" default:"16384" placeholder:"BYTES" help:"Length of a line, at least 512; never without limit. Who never had a share and sends lines of over 4096 bytes is closed when --limit-shared-rate is used up."`
	// PartialBytes: 8 KB for a line that is waited for, half as many as connections.
	PartialBytes int `name:"partial-bytes" default:"33554432" placeholder:"BYTES" help:"Memory for incomplete lines of all miners together; for more, who has waited for longest is closed, of those without a share first."`
	// UnreadBytes: 20 to 60 jobs on a chain with full blocks.
	UnreadBytes int `name:"unread-bytes" default:"131072" placeholder:"BYTES" help:"Output that may wait for one miner, beyond its socket's buffer; a single greater job may."`
	// UnreadTotal: an eighth of the memory of a proxy's task.
	UnreadTotal int `name:"unread-total" default:"33554432" placeholder:"BYTES" help:"Output that may wait for all miners together; for more, who has left it unread for longest is closed."`
	// SocketBytes: the kernel doubles it. Enough for one job and a hundred replies on
	// their way; kernels let it grow to 4 MB by themselves.
	SocketBytes int `name:"socket-bytes" default:"32768" placeholder:"BYTES" help:"Send buffer of a socket (SO_SNDBUF; 0: the system's choice)."`

	// MessageRate: the fastest miner with a difficulty far too low sends 50 a second.
	MessageRate float64 `name:"message-rate" default:"200" placeholder:"N" help:"Messages per second of one connection, beyond the burst; who sends more is read more slowly. A share counts as 1, another message as 4, and one more for each 256 bytes of it and of what it brings about."`
	// MessageBurst: an aggregator that logs in with its names, or hands in what it kept
	// over a short loss of the line.
	MessageBurst int `name:"message-burst" default:"1000" placeholder:"N" help:"Messages of one connection at once."`
	// LightRate: honest miners send one share in four seconds, and log in with six messages
	// at most.
	LightRate float64 `name:"light-rate" default:"5" placeholder:"N" help:"Messages per second, and eight times as many at once, that each connection may send whatever others do. Shares that are accepted do not count, but those of before a raise that are 16 times too easy by now."`
	// SharedRate: a tenth of what two processors take apart.
	SharedRate float64 `name:"shared-rate" default:"10000" placeholder:"N" help:"Messages per second beyond --limit-light-rate, of all connections together; who sends them when there are more is read more slowly."`
	// Names: most miners have one, aggregators one for each machine behind them.
	Names int `name:"names" default:"256" placeholder:"N" help:"Worker names of one connection; for more than 2048 --limit-names-per-address is to be raised, too."`
	// NameBytes: 256 names of 64 bytes.
	NameBytes int `name:"name-bytes" default:"16384" placeholder:"BYTES" help:"Length of all worker names of one connection together."`
	// AddressNames: eight aggregators that are full, or four that come back while their old
	// connections are not found dead yet. A name costs 600 bytes as long as its connection is
	// there.
	AddressNames int `name:"names-per-address" default:"2048" placeholder:"N" help:"Worker names of all connections of one address together, but for the first of each; fewer where memory is short."`

	// GuessTime: one guess a second is hopeless. Ten are free: people mistype.
	GuessTime time.Duration `name:"guess-time" default:"1s" placeholder:"DURATION" help:"Pause between two refused logins of one address, beyond ten at once (more where many mine); it comes before the answer."`
	// BanScore: seventeen browsers a minute, or one device that sends only nonsense.
	BanScore float64 `name:"ban-score" default:"100" placeholder:"POINTS" help:"Points that close an address out: a line that is no message has 1, a connection closed for such 5, a refused login 2. They halve every --limit-ban-half-life. Where others mine, or did within the hour, the address is not closed out, but may have only 64 connections at a time that have not logged in."`
	// BanHalfLife and BanTime: long enough to be no use to an attacker, short enough
	// for somebody who has found his mistake.
	BanHalfLife time.Duration `name:"ban-half-life" default:"1m" placeholder:"DURATION" help:"Time in which ban points halve."`
	BanTime     time.Duration `name:"ban-time" default:"10m" placeholder:"DURATION" help:"For how long an address is closed out."`
	// Tarpit: a file descriptor and 4 KB of the kernel's each, given back when descriptors
	// or memory run out.
	Tarpit int `name:"tarpit" default:"8000" placeholder:"N" help:"Connections that are to be closed for garbage, or from banned addresses, that are first held without an answer; for one more the one that ends next is closed; 0: none is held. Those of an address that has less than a fifth of --limit-ban-score are closed at once."`
	// TarpitTime: twenty times as long as programs wait before they connect again.
	TarpitTime time.Duration `name:"tarpit-time" default:"30s" placeholder:"DURATION" help:"For how long such a connection is held if its address had a hundred of them lately; a hundredth of it for the first, and so on."`
	// Exempt: nobody. Balancers should send PROXY headers instead.
	Exempt []netip.Prefix `name:"exempt" placeholder:"CIDR" help:"Networks to whose addresses no limit per address and no ban applies; repeatable. No address is exempt by itself, loopback neither."`
}

// minLineLength is the least LineLength: a submit with long names fits.
const minLineLength = 512

// each calls f for every limit that is a number or a duration.
func (l *Limits) each(f func(name, standard string, field reflect.Value) error) error {
	v := reflect.ValueOf(l).Elem()
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag; tag.Get("default") != "" {
			if err := f(tag.Get("name"), tag.Get("default"), v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func parseLimit(field reflect.Value, text string) error {
	switch field.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if text == "0" {
			d, err = 0, nil
		}
		if err != nil || d < 0 {
			return fmt.Errorf("%q: want a duration such as 30s, or 0 for no limit", text)
		}
		field.SetInt(int64(d))
	case float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(f >= 0) {
			return fmt.Errorf("%q: want a number, or 0 for no limit", text)
		}
		field.SetFloat(f)
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q: want a whole number, or 0 for no limit", text)
		}
		field.SetInt(int64(n))
	}
	return nil
}

// paced reports whether messages are limited in their rate.
func (l *Limits) paced() bool { return l.MessageRate > 0 && l.MessageBurst > 0 }

// setDefaults fills what is zero.
func (l *Limits) setDefaults() {
	_ = l.each(func(_, standard string, field reflect.Value) error {
		if field.IsZero() {
			return parseLimit(field, standard) // the tags are right: see TestLimits
		}
		return nil
	})
}

// ZeroIsNone reads l as a user wrote it, all of it: 0 is no limit.
func (l *Limits) ZeroIsNone() {
	_ = l.each(func(_, _ string, field reflect.Value) error {
		if !field.IsZero() {
			return nil
		}
		if field.CanInt() {
			field.SetInt(-1)
		} else {
			field.SetFloat(-1)
		}
		return nil
	})
}

// Check reports what cannot be followed.
func (l *Limits) Check() error {
	if l.LineLength < minLineLength {
		return fmt.Errorf("limit line-length: want %d or more", minLineLength)
	}
	for name, f := range map[string]float64{
		"message-rate": l.MessageRate, "light-rate": l.LightRate, "shared-rate": l.SharedRate, "tls-cpus": l.TLSCPUs, "ban-score": l.BanScore,
	} {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("limit %s: want a number, or 0 for no limit", name)
		}
	}
	return nil
}

// ParseLimits reads limits by their names, as users write them: 0 is no limit, what is
// not named has its default.
func ParseLimits(values map[string]string) (l Limits, err error) {
	l.setDefaults()
	unknown := maps.Clone(values)
	var names []string
	err = l.each(func(name, _ string, field reflect.Value) error {
		names = append(names, name)
		text, ok := values[name]
		if !ok {
			return nil
		}
		delete(unknown, name)
		if err := parseLimit(field, text); err != nil {
			return fmt.Errorf("limit %s: %w", name, err)
		}
		return nil
	})
	if text, ok := values["exempt"]; ok && err == nil {
		delete(unknown, "exempt")
		for part := range strings.FieldsSeq(strings.ReplaceAll(text, ";", " ")) {
			prefix, parseErr := netip.ParsePrefix(part)
			if parseErr != nil {
				return l, fmt.Errorf("limit exempt: %q: want networks such as 10.0.0.0/8, parted by semicolons", part)
			}
			l.Exempt = append(l.Exempt, prefix)
		}
	}
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("unknown limit %q: want one of %s, exempt", slices.Sorted(maps.Keys(unknown))[0], strings.Join(names, ", "))
	}
	if err != nil {
		return l, err
	}
	l.ZeroIsNone()
	return l, l.Check()
}
