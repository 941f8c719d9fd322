package conformance

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var (
	uuidForm      = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	frameworkForm = regexp.MustCompile(`^[0-9a-f-]{36}-\d{4,}$`)
	offerForm     = regexp.MustCompile(`^[0-9a-f-]{36}-O\d+$`)
)

func subscribeChecks() []Check {
	heartbeat := func(Timing) time.Duration { return 16 * time.Second }
	first := func(enc Encoding) func(*C) { return func(c *C) { firstEvents(c, enc) } }
	return []Check{
		{Name: "subscribe/first events in JSON", Doc: "§2.3, §2.5; R01", Run: first(JSON)},
		{Name: "subscribe/first events in protobuf", Doc: "§1, §2.3; R01b", Run: first(Protobuf)},
		{Name: "subscribe/call in JSON, events in protobuf", Doc: "§1; R02", Run: mixedEncodings},
		{Name: "subscribe/heartbeats keep the announced interval", Doc: "§2.3, §2.5; R01", Takes: heartbeat, Run: heartbeats},
		{Name: "subscribe/offer of a MULTI_ROLE framework", Doc: "§2.6, §2.9; R01", Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-a", "conformance-b"}})
			o := f.Offer(0, 0, "")
			role := text(o, "allocation_info.role")
			if role != "conformance-a" && role != "conformance-b" {
				c.Errorf("allocation_info.role of the offer is %q", role)
			}
			for _, r := range items(o, "resources") {
				equal(c, "allocation_info.role of "+text(r, "name"), text(r, "allocation_info.role"), role)
				absent(c, r, "reservations")
				present(c, r, "role")
			}
		}},
		{Name: "subscribe/offer of an old-style framework", Doc: "§2.6; R01", Run: func(c *C) {
			f := c.Framework(Spec{})
			o := f.Offer(0, 0, "")
			absent(c, o, "allocation_info")
			for _, r := range items(o, "resources") {
				absent(c, r, "allocation_info")
				present(c, r, "role")
			}
		}},
		{Name: "subscribe/offer with RESERVATION_REFINEMENT", Doc: "§2.6, §9; R01", Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-b"}, Caps: []string{"RESERVATION_REFINEMENT"}})
			o := f.Offer(0, 0, "")
			for _, r := range items(o, "resources") {
				absent(c, r, "role") // the new format has reservations in its place
				equal(c, "allocation_info.role", text(r, "allocation_info.role"), "conformance-b")
			}
		}},
		{Name: "subscribe/offer says where its agent is", Doc: "§2.9, §2.3 ids; R01", Run: offerFields},
		{Name: "subscribe/no roles, no offers", Doc: "§2.3; R01", Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{}, WantOffers: true})
			f.Quiet("offers for a framework without roles", ofType("OFFERS"))
		}},
		{Name: "subscribe/suppressed_roles", Doc: "§2.3; R01", Run: func(c *C) {
			f := c.Framework(Spec{Roles: []string{"conformance-a", "conformance-b"}, WantOffers: true, Subscribe: Doc{"suppressed_roles": list("conformance-a")}})
			e := f.Event("OFFERS", ofType("OFFERS"))
			for _, o := range items(e.Doc, "offers.offers") {
				equal(c, "role of the offer", text(o, "allocation_info.role"), "conformance-b")
			}
		}},
		{Name: "subscribe/empty id counts as unset", Doc: "§2.2; R16", Run: func(c *C) {
			f := c.newFramework(Spec{})
			f.info = merge(f.info, Doc{"id": value("")})
			f.openRaw(schedulerAPI.path, header{"Content-Type": string(JSON), "Accept": string(JSON)}, mustJSON(Doc{
				"type": "SUBSCRIBE", "framework_id": value(""), "subscribe": Doc{"framework_info": f.info, "suppressed_roles": list("*")},
			}))
			e := f.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
			if id := text(e.Doc, "subscribed.framework_id.value"); !frameworkForm.MatchString(id) {
				c.Errorf("framework id %q, expected a new one", id)
			}
		}},
		{Name: "subscribe/ids are counted", Doc: "§2.3", Run: func(c *C) {
			a, b := c.Framework(Spec{}), c.Framework(Spec{})
			if a.ID == b.ID || !frameworkForm.MatchString(a.ID) || !frameworkForm.MatchString(b.ID) {
				c.Errorf("framework ids %q and %q, expected two of the form MASTER-NNNN", a.ID, b.ID)
			}
			if a.StreamID == b.StreamID {
				c.Errorf("two subscriptions have the stream id %q", a.StreamID)
			}
		}},
		{Name: "subscribe/user and checkpoint do not change", Doc: "§2.3; R02b", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			f.Disconnected()
			g := f.again(Doc{"user": "nobody", "checkpoint": true, "name": "renamed", "webui_url": "http://conformance.example/"})
			g.Subscribe()
			fw := c.framework(f.ID)
			equal(c, "name", text(fw, "name"), "renamed")
			equal(c, "webui_url", text(fw, "webui_url"), "http://conformance.example/")
			equal(c, "user", text(fw, "user"), c.target.User)
			if at(fw, "checkpoint") != false {
				c.Errorf("checkpoint: %v, expected false as at first", at(fw, "checkpoint"))
			}
		}},
		{Name: "subscribe/roles can change", Doc: "§2.3; R02b", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			f.Disconnected()
			g := f.again(Doc{"roles": list("conformance-q"), "capabilities": list(Doc{"type": "MULTI_ROLE"})})
			g.spec.Roles = []string{"conformance-q"}
			g.Subscribe()
			o := g.Offer(0, 0, "")
			equal(c, "role of the offer", text(o, "allocation_info.role"), "conformance-q")
		}},
		{Name: "subscribe/UPDATE_FRAMEWORK changes the name", Doc: "§2.7, §2.1 row 18; R02", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60})
			a := f.Expect(http.StatusOK, "UPDATE_FRAMEWORK", Doc{"update_framework": Doc{
				"framework_info":   merge(f.info, Doc{"id": value(f.ID), "webui_url": "http://updated.example/"}),
				"suppressed_roles": list("*"),
			}})
			equal(c, "body", a.Body, "")
			equal(c, "webui_url", text(c.framework(f.ID), "webui_url"), "http://updated.example/")
		}},
	}
}

func firstEvents(c *C, enc Encoding) {
	f := c.newFramework(Spec{Enc: enc})
	start := time.Now()
	a := f.open()
	equal(c, "status", a.Status, http.StatusOK)
	equal(c, "Content-Type", a.Header.Get("Content-Type"), string(enc))
	if id := a.Header.Get("Mesos-Stream-Id"); !uuidForm.MatchString(id) {
		c.Errorf("Mesos-Stream-Id %q is no UUID", id)
	}
	e := c.wait(f.log, "first event", func(Event) bool { return true })
	equal(c, "first event", e.Type, "SUBSCRIBED")
	master := text(e.Doc, "subscribed.master_info.id")
	f.ID = text(e.Doc, "subscribed.framework_id.value")
	if !strings.HasPrefix(f.ID, master+"-") || !frameworkForm.MatchString(f.ID) {
		c.Errorf("framework id %q, expected the master's id %q and a counter", f.ID, master)
	}
	interval := number(e.Doc, "subscribed.heartbeat_interval_seconds")
	if interval <= 0 {
		c.Errorf("heartbeat_interval_seconds %v", interval)
	}
	for _, field := range []string{"ip", "port", "pid", "hostname", "version", "address.port", "address.ip"} {
		present(c, e.Doc, "subscribed.master_info."+field)
	}
	hb := f.Event("immediate HEARTBEAT", ofType("HEARTBEAT"))
	if d := hb.At.Sub(e.At); interval >= 10 && d > time.Duration(interval*float64(time.Second))/2 {
		c.Errorf("first HEARTBEAT %v after SUBSCRIBED (%v after the call), expected it at once", d, time.Since(start))
	}
}

func mixedEncodings(c *C) {
	f := c.newFramework(Spec{})
	a := f.openRaw(schedulerAPI.path, header{"Content-Type": string(JSON), "Accept": string(Protobuf)}, mustJSON(f.subscribeCall()))
	equal(c, "Content-Type", a.Header.Get("Content-Type"), string(Protobuf))
	f.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	f.enc = Protobuf // further calls
	f.Call("RECONCILE", Doc{"reconcile": Doc{"tasks": list(Doc{"task_id": value("nobody")})}})
	equal(c, "state", text(f.UpdateAny("nobody"), "state"), "TASK_LOST")
}

func heartbeats(c *C) {
	f := c.newFramework(Spec{})
	f.open()
	sub := f.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	f.ID = text(sub.Doc, "subscribed.framework_id.value")
	interval := time.Duration(number(sub.Doc, "subscribed.heartbeat_interval_seconds") * float64(time.Second))
	first := f.Event("first HEARTBEAT", ofType("HEARTBEAT"))
	second := c.waitFor(f.log, interval*2+c.target.Patience, "second HEARTBEAT", ofType("HEARTBEAT"))
	// Early is a fault at any load; late may be this machine's.
	if gap := second.At.Sub(first.At); gap < interval/2 {
		c.Errorf("HEARTBEAT after %v, announced were %v", gap, interval)
	}
}

func offerFields(c *C) {
	f := c.Framework(Spec{})
	o := f.Offer(0, 0, "")
	if id := text(o, "id.value"); !offerForm.MatchString(id) {
		c.Errorf("offer id %q, expected MASTER-O and a counter", id)
	}
	equal(c, "framework_id", text(o, "framework_id.value"), f.ID)
	for _, p := range []string{"agent_id.value", "hostname", "url.scheme", "url.address.ip", "url.address.port", "url.address.hostname"} {
		present(c, o, p)
	}
	if path := text(o, "url.path"); !strings.HasPrefix(path, "/slave(") {
		c.Errorf("url.path %q, expected /slave(1)", path)
	}
	known := false
	for _, a := range c.agents {
		if a.ID == text(o, "agent_id.value") {
			known = true
			equal(c, "url.address", fmt.Sprintf("%s:%.0f", text(o, "url.address.ip"), number(o, "url.address.port")), a.Endpoint)
		}
	}
	if !known {
		c.Errorf("agent %s of the offer is not in /slaves %v", text(o, "agent_id.value"), c.agents)
	}
}

func refusalChecks() []Check {
	return []Check{
		{Name: "refusal/changed principal", Doc: "§2.3; R02b", Needs: NeedAnonymous, Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60, Info: Doc{"principal": "alice"}})
			f.Disconnected()
			g := f.again(Doc{"principal": "bob"})
			g.open()
			e := g.Event("ERROR", ofType("ERROR"))
			equal(c, "message", text(e.Doc, "error.message"), "Changing framework's principal is not allowed.")
			g.Ended("the stream after ERROR")
		}},
		{Name: "refusal/status is 200 and a stream id comes", Doc: "§2.1 row 11, §2.3; R02b", Run: func(c *C) {
			f := c.newFramework(Spec{Role: "..", WantOffers: true})
			a := f.open()
			equal(c, "status", a.Status, http.StatusOK)
			if id := a.Header.Get("Mesos-Stream-Id"); !uuidForm.MatchString(id) {
				c.Errorf("Mesos-Stream-Id %q is no UUID", id)
			}
			f.Event("ERROR", ofType("ERROR"))
			f.Ended("the stream after ERROR")
		}},
		{Name: "refusal/in protobuf too", Doc: "§1, §2.3", Run: func(c *C) {
			f := c.newFramework(Spec{Enc: Protobuf, Role: "a b", WantOffers: true})
			f.open()
			e := f.Event("ERROR", ofType("ERROR"))
			contains(c, "message", text(e.Doc, "error.message"), "is not a valid role")
		}},
		{Name: "refusal/suppressed role not subscribed", Doc: "§2.3; R02b", Run: func(c *C) {
			f := c.newFramework(Spec{Roles: []string{"a"}, WantOffers: true, Subscribe: Doc{"suppressed_roles": list("b")}})
			f.open()
			e := f.Event("ERROR", ofType("ERROR"))
			equal(c, "message", text(e.Doc, "error.message"), "Suppressed roles { b } are not contained in the set of roles")
		}},
	}
}
