package conformance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Spec describes a framework to subscribe.
type Spec struct {
	Caps            []string
	Roles           []string // with MULTI_ROLE
	Role            string   // old style
	Checkpoint      bool
	FailoverTimeout float64 // seconds
	Enc             Encoding
	Info            Doc // further fields of FrameworkInfo
	Subscribe       Doc // further fields of Subscribe
	// WantOffers leaves the offers to the check; otherwise the framework suppresses them but
	// for the time of Offer.
	WantOffers bool
}

// Framework is a scheduler: one framework id with at most one subscription.
type Framework struct {
	c    *C
	spec Spec
	info Doc

	ID       string
	StreamID string
	log      *eventLog
	enc      Encoding
	wg       sync.WaitGroup

	callMu sync.Mutex // calls go out one after the other
	mu     sync.Mutex
	cancel context.CancelFunc
	offers map[string]Doc
	parked bool
	acked  *sync.Map // uuids of updates that were acknowledged, by any scheduler of the framework
}

// frameworkInfo builds a FrameworkInfo.
func (c *C) frameworkInfo(spec Spec) Doc {
	info := Doc{"user": c.target.User, "name": "conformance " + c.Name()}
	if c.target.Principal != "" {
		info["principal"] = c.target.Principal
	}
	caps := slices.Clone(spec.Caps)
	if spec.Roles != nil {
		caps = append(caps, "MULTI_ROLE")
		info["roles"] = list(spec.Roles...)
	}
	if spec.Role != "" {
		info["role"] = spec.Role
	}
	if spec.Checkpoint {
		info["checkpoint"] = true
	}
	if spec.FailoverTimeout != 0 {
		info["failover_timeout"] = spec.FailoverTimeout
	}
	if len(caps) > 0 {
		l := list[any]()
		for _, name := range caps {
			l = append(l, Doc{"type": name})
		}
		info["capabilities"] = l
	}
	return merge(info, spec.Info)
}

// Framework subscribes a new framework.
func (c *C) Framework(spec Spec) *Framework {
	c.Helper()
	f := c.newFramework(spec)
	f.Subscribe()
	return f
}

func (c *C) newFramework(spec Spec) *Framework {
	enc := spec.Enc
	if enc == "" {
		enc = JSON
	}
	f := &Framework{c: c, spec: spec, info: c.frameworkInfo(spec), enc: enc, offers: map[string]Doc{}, parked: !spec.WantOffers, acked: new(sync.Map)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frameworks = append(c.frameworks, f)
	return f
}

// again is another scheduler of the same framework, not subscribed yet.
func (f *Framework) again(more ...Doc) *Framework {
	g := f.c.newFramework(f.spec)
	g.ID, g.info, g.acked = f.ID, merge(f.info, more...), f.acked
	return g
}

func (f *Framework) subscribeCall() Doc {
	info := f.info
	sub := Doc{}
	if f.parked {
		roles := f.spec.Roles
		if roles == nil {
			roles = []string{"*"}
			if f.spec.Role != "" {
				roles = []string{f.spec.Role}
			}
		}
		sub["suppressed_roles"] = list(roles...)
	}
	call := Doc{"type": "SUBSCRIBE"}
	if f.ID != "" {
		info = merge(info, Doc{"id": value(f.ID)})
		call["framework_id"] = value(f.ID)
	}
	sub["framework_info"] = info
	call["subscribe"] = merge(sub, f.spec.Subscribe)
	return call
}

// Subscribe subscribes and waits for SUBSCRIBED.
func (f *Framework) Subscribe() Event {
	f.c.Helper()
	if a := f.open(); a.Status != http.StatusOK {
		f.c.Fatalf("SUBSCRIBE: %v", a)
	}
	e := f.c.wait(f.log, "SUBSCRIBED or ERROR", func(e Event) bool { return e.Type == "SUBSCRIBED" || e.Type == "ERROR" })
	if e.Type == "ERROR" {
		f.c.Fatalf("SUBSCRIBE refused: %s", text(e.Doc, "error.message"))
	}
	f.ID = text(e.Doc, "subscribed.framework_id.value")
	return e
}

// open sends SUBSCRIBE. With status 200 the events flow into f.log.
func (f *Framework) open() answer {
	f.c.Helper()
	body, err := f.enc.encode(schedulerAPI, f.subscribeCall())
	if err != nil {
		f.c.Fatal(err)
	}
	return f.openRaw(schedulerAPI.path, header{"Content-Type": string(f.enc), "Accept": string(f.enc)}, body)
}

func (f *Framework) openRaw(path string, h header, body []byte) answer {
	f.c.Helper()
	ctx, cancel := context.WithCancel(f.c.ctx)
	// The head of the answer must come soon, the body may take for ever.
	late := time.AfterFunc(callTimeout, cancel)
	resp, err := f.c.master.open(ctx, http.MethodPost, path, h, body)
	late.Stop()
	if err != nil {
		cancel()
		f.c.Fatalf("SUBSCRIBE at %s: %v", f.c.target.Master, err)
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header}
	log := newEventLog()
	f.mu.Lock()
	f.cancel, f.log, f.StreamID = cancel, log, resp.Header.Get("Mesos-Stream-Id")
	clear(f.offers)
	f.mu.Unlock()
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer resp.Body.Close()
		a.Body = readAll(resp.Body)
		log.end(nil)
		return a
	}
	enc := Encoding(resp.Header.Get("Content-Type"))
	f.wg.Go(func() {
		defer cancel()
		defer resp.Body.Close()
		f.read(newRecordReader(resp.Body), enc, log)
	})
	return a
}

func (f *Framework) read(records *recordReader, enc Encoding, log *eventLog) {
	for {
		rec, err := records.next()
		if err != nil {
			log.end(err)
			return
		}
		d, err := enc.decode(schedulerAPI, rec)
		if err != nil {
			log.push(Doc{"type": "(undecodable)", "error": err.Error()})
			continue
		}
		f.note(d, log)
		log.push(d)
	}
}

// note keeps the pool of offers, and answers those that nobody asked for.
func (f *Framework) note(d Doc, log *eventLog) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if log != f.log {
		return // a newer subscription took over
	}
	switch text(d, "type") {
	case "SUBSCRIBED":
		if f.ID == "" {
			f.ID = text(d, "subscribed.framework_id.value")
		}
	case "OFFERS":
		var unwanted []string
		for _, o := range items(d, "offers.offers") {
			id := text(o, "id.value")
			if f.parked {
				unwanted = append(unwanted, id)
				continue
			}
			f.offers[id], _ = o.(Doc)
		}
		if unwanted != nil {
			f.wg.Go(func() { f.decline(0, unwanted...) })
		}
	case "RESCIND":
		delete(f.offers, text(d, "rescind.offer_id.value"))
	case "UPDATE":
		st, _ := at(d, "update.status").(Doc)
		if _, again := f.acked.Load(text(st, "uuid")); again {
			// The acknowledgement may have been lost with the agent, and without it no later
			// update of the task would come.
			f.wg.Go(func() { _, _ = f.try("ACKNOWLEDGE", acknowledgement(st)) })
		}
	}
}

// try sends a call on this subscription.
func (f *Framework) try(kind string, body Doc) (answer, error) {
	call := Doc{"type": kind, "framework_id": value(f.ID)}
	b, err := f.enc.encode(schedulerAPI, merge(call, body))
	if err != nil {
		return answer{}, err
	}
	f.mu.Lock()
	stream := f.StreamID
	f.mu.Unlock()
	f.callMu.Lock()
	defer f.callMu.Unlock()
	return f.c.master.send(f.c.ctx, http.MethodPost, schedulerAPI.path,
		header{"Content-Type": string(f.enc), "Accept": string(f.enc), "Mesos-Stream-Id": stream}, b)
}

// Call sends a call that the master must take with 202.
func (f *Framework) Call(kind string, body Doc) {
	f.c.Helper()
	f.Expect(http.StatusAccepted, kind, body)
}

// Expect sends a call that the master must answer with the status.
func (f *Framework) Expect(status int, kind string, body Doc) answer {
	f.c.Helper()
	a, err := f.try(kind, body)
	if err != nil {
		f.c.Fatalf("%s: %v", kind, err)
	}
	if a.Status != status {
		f.c.Fatalf("%s: answer %v, expected status %d", kind, a, status)
	}
	return a
}

// Event waits for an event of the subscription.
func (f *Framework) Event(what string, match func(Event) bool) Event {
	f.c.Helper()
	return f.c.wait(f.log, what, f.news(match))
}

// news narrows match to what is no repetition of an acknowledged update: those may come at any
// time, when an acknowledgement and a retry cross each other.
func (f *Framework) news(match func(Event) bool) func(Event) bool {
	return func(e Event) bool {
		if !match(e) {
			return false
		}
		_, old := f.acked.Load(text(e.Doc, "update.status.uuid"))
		return !old
	}
}

// Update waits for an UPDATE of the task in the state; its status is returned.
func (f *Framework) Update(task, state string) Doc {
	f.c.Helper()
	e := f.Event(fmt.Sprintf("UPDATE %s %s", task, state), update(task, state))
	st, _ := at(e.Doc, "update.status").(Doc)
	return st
}

// UpdateAny waits for the next UPDATE of the task whatever its state.
func (f *Framework) UpdateAny(task string) Doc {
	f.c.Helper()
	return f.Update(task, "")
}

// Acknowledge acknowledges an update.
func (f *Framework) Acknowledge(status Doc) {
	f.c.Helper()
	f.acked.Store(text(status, "uuid"), true)
	f.Call("ACKNOWLEDGE", acknowledgement(status))
}

func acknowledgement(status Doc) Doc {
	return Doc{"acknowledge": Doc{"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]}}
}

// Take waits for an update, acknowledges it if it has a uuid, and returns the status.
func (f *Framework) Take(task, state string) Doc {
	f.c.Helper()
	st := f.Update(task, state)
	if has(st, "uuid") {
		f.Acknowledge(st)
	}
	return st
}

// Quiet checks that no event comes that match accepts.
func (f *Framework) Quiet(what string, match func(Event) bool) {
	f.c.Helper()
	f.c.never(f.log, f.c.target.Quiet, what, f.news(match))
}

// Ended waits for the end of the subscription.
func (f *Framework) Ended(what string) {
	f.c.Helper()
	f.c.waitEnd(f.log, what)
}

// Disconnect closes the subscription from this side.
func (f *Framework) Disconnect() {
	f.c.Helper()
	f.mu.Lock()
	cancel, log := f.cancel, f.log
	f.mu.Unlock()
	cancel()
	f.c.waitEnd(log, "own disconnect")
}

// Disconnected disconnects and waits until the master has seen it.
func (f *Framework) Disconnected() {
	f.c.Helper()
	f.Disconnect()
	f.c.eventually("master notices the disconnection", func() error {
		fw := f.c.framework(f.ID)
		if fw != nil && at(fw, "connected") == true {
			return fmt.Errorf("framework is still connected")
		}
		return nil
	})
}

// Teardown tears the framework down.
func (f *Framework) Teardown() {
	f.c.Helper()
	f.Call("TEARDOWN", Doc{})
	f.Ended("TEARDOWN")
}

// leave ends the framework at the end of the check.
func (f *Framework) leave(ctx context.Context) {
	f.mu.Lock()
	cancel, id, stream := f.cancel, f.ID, f.StreamID
	f.mu.Unlock()
	if id == "" {
		if cancel != nil {
			cancel()
		}
		return
	}
	b := mustJSON(Doc{"type": "TEARDOWN", "framework_id": value(id)})
	a, err := f.c.master.send(ctx, http.MethodPost, schedulerAPI.path,
		header{"Content-Type": string(JSON), "Mesos-Stream-Id": stream}, b)
	if err != nil || a.Status != http.StatusAccepted {
		f.c.ids = append(f.c.ids, id) // disconnected or taken over: the operator's way
	}
	if cancel != nil {
		cancel()
	}
}

// framework returns the master's view of a framework from /frameworks; nil if it is not
// an active one.
func (c *C) framework(id string) Doc {
	c.Helper()
	for _, fw := range items(c.get("/frameworks"), "frameworks") {
		if text(fw, "id") == id {
			d, _ := fw.(Doc)
			return d
		}
	}
	return nil
}
