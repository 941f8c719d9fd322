// Package load puts load on a Stratum v1 pool and measures how it bears it: many
// connections, real shares, slow readers, garbage and reconnect storms.
//
//	report, err := load.Run(ctx, load.Options{Pool: "stratum+tcp://127.0.0.1:3333", User: "me", Connections: 1000, Shares: 200})
//	report.WriteTable(os.Stdout)
//
// What is measured, and against which clock, stands with Report. Every share is
// solved at the difficulty that the pool gave, and checked a second time before it
// is sent: a pool that refuses one without a reason is caught (see verdict.go).
//
// A connection costs one goroutine and no buffer while it waits; job lines that are
// the same bytes on all connections are parsed once.
package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"lode/stratum"
)

// Options say what to do to a pool. Zero values are the defaults that the fields
// name.
type Options struct {
	// Pool is stratum+tcp://host:port or stratum+tls://host:port. An address that is
	// not this machine's is refused unless AllowRemote is set: load on a pool that
	// has not asked for it is an attack.
	Pool           string
	AllowRemote    bool
	CA             []byte // PEM certificates to trust for stratum+tls; nil: the system's
	User, Password string // Password "": x
	UserAgent      string // "": lode-load

	Connections int           // miners; 0: 1
	Ramp        time.Duration // over which they are opened; 0: as fast as Opening allows
	Opening     int           // connections that may be on their way to their first job at once; 0: 256
	Duration    time.Duration // to measure for once all are there; 0: 30 s
	Shares      float64       // shares per second, of all miners together; 0: none
	// Difficulty is asked for with mining.suggest_difficulty, and with d= in the password x; 0: not.
	Difficulty stratum.Difficulty
	// MaxHashes is how many hashes a share may take on average: miners whose pool
	// gives them a greater difficulty send none. 0: 2^26.
	MaxHashes        float64
	NoVersionRolling bool // do not send mining.configure

	SlowReaders int // miners beside the others that do not read what they are sent
	Garbage     int // connections beside the others that send what is no Stratum
	// Hostile are attacks by name (see Attacks), "all" for all. Attackers of them are at
	// work, one kind after the other for Duration each, with a Duration without any between;
	// AttackRate is their misdeeds per second, all of a kind together, and how many of them
	// come in one; 0: 10 and 1,000.
	// API is host:port of the pool's HTTP API; "": it is left alone.
	Hostile    []string
	Attackers  int
	AttackRate float64
	API        string
	// Control is a pool beside Pool that nobody attacks, with as many miners: what a pool's
	// miners feel of attackers is what those of the control do not feel at the same time, on
	// machines that they all share. ""; none.
	Control string
	// Watch is a process whose memory is told, the pool's for example; 0: none.
	Watch int
	// MaxRatio is how many times the p99 of a submit may be that without attackers, or the
	// control's; 0: 2.
	MaxRatio float64
	// StormSize miners at a time cut their connection and connect again, every
	// StormInterval. 0: none.
	StormSize     int
	StormInterval time.Duration

	// Grace is how long after a refused share ("stale", "job not found") the clean
	// job may come that explains it; 0: 5 s.
	Grace time.Duration
	// Drain is how long replies are waited for at the end; 0: 3 s.
	Drain time.Duration

	// Origin tells when the pool learnt what made it send a job, if the caller knows
	// (its pool runs in this process). Without it the time is known for blocks that
	// shares of this run have made.
	Origin func(*stratum.Job) (time.Time, bool)
	// Progress is called about four times a second, Notice with sentences for the user
	// that cannot wait for the report. Both by one goroutine at a time.
	Progress func(Progress)
	Notice   func(text string)
}

// Limits of what a run may do to a pool on another machine.
const (
	maxRemoteShares  = 10_000
	maxRemoteHostile = 100
	maxRemoteOpening = 256
	maxConnections   = 1_000_000
	maxShares        = 1_000_000
)

func (o *Options) setDefaults() {
	set(&o.Password, "x")
	set(&o.UserAgent, "lode-load")
	set(&o.Connections, 1)
	set(&o.Opening, 256)
	set(&o.Duration, 30*time.Second)
	set(&o.MaxHashes, 1<<26)
	set(&o.Attackers, 10)
	set(&o.AttackRate, 1000)
	set(&o.MaxRatio, 2)
	set(&o.Grace, 5*time.Second)
	set(&o.Drain, 3*time.Second)
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
}

// measures is the time to measure for, with attacks of so many kinds.
func (o *Options) measures(attacks int) time.Duration {
	each := o.pace() + min(onset, o.Duration) + 2*o.Duration + min(recovery, o.Duration)
	return o.Duration + time.Duration(attacks)*each
}

// pace is the time from one misdeed of an attacker to its next; to come is the first one.
func (o *Options) pace() time.Duration {
	return time.Duration(min(float64(o.Attackers)/o.AttackRate, 1e6) * float64(time.Second))
}

// files is how many files a run has open at once.
func (o *Options) files() uint64 {
	n := o.Connections + o.SlowReaders + o.Garbage + o.Attackers + 64
	if o.Control != "" {
		n += o.Connections
	}
	return uint64(n)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// OptionError is an option that cannot be followed.
type OptionError struct {
	Option string // the field's name
	Text   string
}

func (e *OptionError) Error() string { return e.Text }

// Check reports the first thing wrong with o, as an *OptionError; it does not
// look up the pool's address.
func (o Options) Check() error {
	o.setDefaults()
	bad := func(option, format string, args ...any) error {
		return &OptionError{option, fmt.Sprintf(format, args...)}
	}
	hostPort, secure, err := stratum.ParseURL(o.Pool)
	_, attackErr := parseAttacks(o.Hostile, secure, o.API != "")
	var control string
	var controlErr error
	if o.Control != "" {
		control, _, controlErr = stratum.ParseURL(o.Control)
	}
	switch {
	case err != nil:
		return bad("Pool", "%v", err)
	case attackErr != nil:
		return bad("Hostile", "%v", attackErr)
	case controlErr != nil:
		return bad("Control", "%v", controlErr)
	case o.Control != "" && len(o.Hostile) == 0:
		return bad("Control", "a control is for attacks, and there are none")
	case o.Control != "" && control == hostPort:
		return bad("Control", "the control is the pool that is attacked: want another one, without attackers")
	case o.User == "":
		return bad("User", "a user is needed")
	case o.Connections < 1 || o.Connections > maxConnections:
		return bad("Connections", "%d connections: want 1 to %d", o.Connections, maxConnections)
	case o.Ramp < 0 || o.Duration < 0:
		return bad("Duration", "durations cannot be below 0")
	case o.Opening < 1:
		return bad("Opening", "%d connections opening at once: want 1 or more", o.Opening)
	case !(o.Shares >= 0 && o.Shares <= maxShares):
		return bad("Shares", "%v shares a second: want 0 to %d", o.Shares, maxShares)
	case o.Difficulty != 0 && !o.Difficulty.Valid():
		return bad("Difficulty", "difficulty %v: want a number above 0", float64(o.Difficulty))
	case o.SlowReaders < 0 || o.Garbage < 0 || o.SlowReaders > maxConnections || o.Garbage > maxConnections:
		return bad("Garbage", "%d slow readers, %d garbage connections: want 0 to %d", o.SlowReaders, o.Garbage, maxConnections)
	case o.Attackers < 1 || o.Attackers > maxConnections:
		return bad("Attackers", "%d attackers: want 1 to %d", o.Attackers, maxConnections)
	case !(o.AttackRate > 0 && o.AttackRate <= maxShares):
		return bad("AttackRate", "%v misdeeds a second: want above 0, to %d", o.AttackRate, maxShares)
	case o.Watch < 0:
		return bad("Watch", "process %d: want its number", o.Watch)
	case !(o.MaxRatio >= 1):
		return bad("MaxRatio", "a ratio of %v: want 1 or more", o.MaxRatio)
	case len(o.Hostile) > 0 && o.Shares == 0:
		return bad("Shares", "what miners feel of attacks shows in their shares: want some")
	case o.StormSize < 0 || o.StormSize > o.Connections:
		return bad("StormSize", "a storm of %d: want 0 to the %d connections", o.StormSize, o.Connections)
	case o.StormSize > 0 && o.StormInterval < 100*time.Millisecond:
		return bad("StormInterval", "a storm every %v: want 100ms or more", o.StormInterval)
	}
	return nil
}

// checkRemote keeps what is done to other machines within bounds.
func (o *Options) checkRemote(addr netip.Addr) error {
	switch {
	case addr.IsLoopback():
		return nil
	case !o.AllowRemote:
		return &OptionError{"AllowRemote", fmt.Sprintf("the pool's address %v is not this machine; load on somebody else's pool is an attack, so this must be allowed explicitly", addr)}
	case o.Shares > maxRemoteShares:
		return &OptionError{"Shares", fmt.Sprintf("%v shares a second: against another machine at most %d", o.Shares, maxRemoteShares)}
	case len(o.Hostile) > 0 && (o.Attackers > maxRemoteHostile || o.AttackRate > maxRemoteHostile):
		return &OptionError{"Attackers", fmt.Sprintf("against another machine at most %d attackers, and misdeeds a second", maxRemoteHostile)}
	case o.SlowReaders > maxRemoteHostile || o.Garbage > maxRemoteHostile:
		return &OptionError{"Garbage", fmt.Sprintf("against another machine at most %d slow readers and garbage connections each", maxRemoteHostile)}
	case o.Opening > maxRemoteOpening || o.StormSize > maxRemoteOpening:
		return &OptionError{"StormSize", fmt.Sprintf("against another machine at most %d connections are opened at once", maxRemoteOpening)}
	}
	return nil
}

// resolve gives the one address that is connected to, for the whole run: the check
// for remote pools holds for it.
func resolve(ctx context.Context, hostPort string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("look up the pool: %w", err)
	}
	if len(addrs) == 0 {
		return netip.AddrPort{}, errors.New("look up the pool: " + host + " has no address")
	}
	best := addrs[0].Unmap()
	for _, a := range addrs {
		if a.Unmap().Is4() && !best.Is4() {
			best = a.Unmap() // most pools listen on IPv4
		}
	}
	return netip.ParseAddrPort(net.JoinHostPort(best.String(), port))
}
