package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lode/internal/sleep"
	"lode/scheduler/artifact"
	"lode/zookeeper"
)

// ErrDeposed says that another scheduler was elected.
var ErrDeposed = zookeeper.ErrDeposed

// errNoState says that ZooKeeper did not give the state to who was elected.
var errNoState = errors.New("the state cannot be read")

const (
	// Pauses before somebody whose term ended contends again.
	leadFirst, leadMost = time.Second, 30 * time.Second
	// longTerm is a term after which the pause is the first one again.
	longTerm = time.Minute
	// mostSteals is how often in a row Mesos may say that another scheduler took over
	// while ZooKeeper says that this one leads, before it gives way.
	mostSteals = 3
)

// Lead runs a scheduler for as long as this process is the one of several that leads,
// and stands by otherwise, until ctx ends (nil) or something happens that waiting cannot
// mend. Who leads, and the state, is in ZooKeeper (config.ZooKeeper).
//
// A term ends when ZooKeeper says so: the session expired, the node is gone, another
// epoch began. While ZooKeeper cannot be asked it goes on with the subscription that it
// has; what must be stored before it is sent waits, and that is every launch. It does
// not subscribe again before ZooKeeper has confirmed that it leads. So a leader that is
// cut off from ZooKeeper alone ends when the next one subscribes, by Mesos' own rule,
// and takes nothing back from that one.
func Lead(ctx context.Context, config Config) error {
	config = config.withDefaults()
	u, err := zookeeper.Parse(config.ZooKeeper)
	if err != nil {
		return &ConfigError{fmt.Errorf("state %w", err)}
	}
	if err := config.check(); err != nil {
		return &ConfigError{err}
	}
	newest, err := artifact.Load(config.Executor)
	if err != nil {
		return err
	}
	if u.User == "" {
		config.Logger.Warn("whoever reaches ZooKeeper can read and change the state, and with it keys and tasks: use zk://user:password@…", "state", u.String())
	}
	config.library = newLibrary(newest, config.StateDir, config.Logger)
	defer config.library.close()
	election := zookeeper.NewElection(u, config.Logger)
	pause := leadFirst
	for {
		term, err := contend(ctx, config, election)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		config.Logger.Info("this scheduler leads", "term", term.Number())
		began := time.Now()
		err = serve(ctx, config, term)
		term.Resign()
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, ErrDeposed)):
			return nil
		case !errors.Is(err, ErrDeposed) && !errors.Is(err, errNoState):
			return err
		}
		if time.Since(began) > longTerm {
			pause = leadFirst
		}
		config.Logger.Warn("the term is over; standing by", "term", term.Number(), "error", err)
		if sleep.For(ctx, pause) != nil {
			return nil
		}
		pause = min(2*pause, leadMost)
	}
}

// contend stands by until this process leads.
func contend(ctx context.Context, config Config, election *zookeeper.Election) (*zookeeper.Term, error) {
	p := &post{config: config, library: config.library}
	if err := p.open(); err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.at.findAddress(); err != nil {
		return nil, err
	}
	self := zookeeper.Member{URL: p.at.url(), Executors: config.library.digests()}
	last := ""
	return election.Stand(ctx, self, func(s zookeeper.Standing) {
		if known := p.standing.Load(); s.Err != nil && known != nil {
			s.Members = known.Members // the best that is known
		}
		p.standing.Store(&s)
		if leader := p.leader(); leader != last && s.Err == nil {
			last = leader
			config.Logger.Info("another scheduler leads; standing by", "leader", leader)
		}
		if s.Err == nil && len(s.Members) > 0 {
			config.library.mirror(s.Members[0])
		}
	})
}

// serve runs a scheduler for a term, and again when another one took its subscription
// though it leads.
func serve(ctx context.Context, config Config, term *zookeeper.Term) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-term.Over():
			end(term.Err())
		case <-ctx.Done():
		}
	}()
	config.term = term
	for steals := 0; ; steals++ {
		s, err := New(config)
		if err != nil {
			return err
		}
		began := time.Now()
		err = s.Run(ctx)
		if over := term.Err(); over != nil && err != nil {
			return over
		}
		if !errors.Is(err, ErrFailedOver) {
			return err
		}
		if err := term.Confirm(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrDeposed, err)
		}
		if time.Since(began) > longTerm {
			steals = 0
		}
		if steals >= mostSteals {
			return err
		}
		config.Logger.Warn("another scheduler took the subscription, but this one leads; subscribing again", "error", err)
		if sleep.For(ctx, leadFirst<<steals) != nil {
			return term.Err()
		}
	}
}

// mayLead says whether this scheduler may subscribe.
func (s *Scheduler) mayLead(ctx context.Context) error {
	if s.config.term == nil {
		return nil
	}
	if err := s.config.term.Confirm(ctx); err != nil {
		return fmt.Errorf("it is not certain that this scheduler leads: %w", err)
	}
	return nil
}

// serveOther answers for an executor that another of several schedulers has: a former
// leader's. It returns false if nobody is known to have it.
func (s *Scheduler) serveOther(w http.ResponseWriter, r *http.Request) bool {
	if s.config.term == nil {
		return false
	}
	if b := s.config.library.find(r.URL.Path); b != nil {
		b.Handler(nil).ServeHTTP(w, r)
		return true
	}
	members, err := s.config.term.Members(r.Context())
	if err != nil {
		s.log.Warn("cannot find out who has an executor", "path", r.URL.Path, "error", err)
		return false
	}
	return sendToOwner(w, r, members)
}

func checkZooKeeper(ctx context.Context, c Config) Finding {
	f := Finding{What: "state in ZooKeeper"}
	u, err := zookeeper.Parse(c.ZooKeeper)
	if err != nil {
		f.Err = err
		return f
	}
	f.What = "state in " + u.String()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	members, err := zookeeper.Look(ctx, u, c.Logger)
	f.Err = err
	switch {
	case len(members) == 0:
		f.Detail = "no scheduler leads"
	default:
		f.Detail = fmt.Sprintf("the scheduler at %s leads, %d stand by", members[0].URL, len(members)-1)
	}
	if err == nil && u.User == "" {
		f.Detail += "; whoever reaches ZooKeeper can read and change it: use zk://user:password@…"
	}
	return f
}
