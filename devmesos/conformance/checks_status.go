package conformance

import (
	"fmt"
	"net/http"
	"strings"
)

// statusChecks are those of the table of §2.1 that the transcripts do not hold, mostly
// the same in protobuf.
func statusChecks() []Check {
	return []Check{
		{Name: "status/protobuf without required fields", Doc: "§2.1 row 6, §2.2", Run: func(c *C) {
			// type: KILL, kill: {} — the required task_id is missing.
			a := c.post(Protobuf, []byte{0x10, 0x06, 0x32, 0x00})
			equal(c, "status", a.Status, http.StatusBadRequest)
		}},
		{Name: "status/empty protobuf call", Doc: "§2.1 row 8; R02", Run: func(c *C) {
			a := c.post(Protobuf, []byte{})
			equal(c, "status", a.Status, http.StatusBadRequest)
			equal(c, "body", a.Body, "Failed to validate scheduler::Call: Expecting 'type' to be present")
		}},
		{Name: "status/unknown framework in protobuf", Doc: "§2.1 row 12; R02", Run: func(c *C) {
			b, err := Protobuf.encode(schedulerAPI, Doc{"type": "REVIVE", "framework_id": value("no-such-framework")})
			if err != nil {
				c.Fatal(err)
			}
			a := c.post(Protobuf, b)
			equal(c, "status", a.Status, http.StatusBadRequest)
			equal(c, "body", a.Body, "Framework cannot be found")
		}},
		{Name: "status/calls in protobuf are taken", Doc: "§1, §2.1 row 20", Run: func(c *C) {
			f := c.Framework(Spec{Enc: Protobuf})
			for _, call := range []struct {
				kind string
				body Doc
			}{
				{"REVIVE", Doc{}},
				{"SUPPRESS", Doc{}},
				{"DECLINE", Doc{"decline": Doc{"offer_ids": values("none")}}},
				{"RECONCILE", Doc{"reconcile": Doc{"tasks": list[any]()}}},
				{"MESSAGE", Doc{"message": Doc{"agent_id": value("a"), "executor_id": value("e"), "data": b64("x")}}},
				{"SHUTDOWN", Doc{"shutdown": Doc{"agent_id": value("a"), "executor_id": value("e")}}},
				{"ACKNOWLEDGE", Doc{"acknowledge": Doc{"agent_id": value("a"), "task_id": value("t"), "uuid": newUUID()}}},
			} {
				a := f.Expect(http.StatusAccepted, call.kind, call.body)
				equal(c, call.kind+" body", a.Body, "")
			}
		}},
		{Name: "status/order of checks", Doc: "§2.1; R02", Run: func(c *C) {
			bad := `{"type":`
			for _, row := range []struct {
				what, method string
				h            header
				body         string
				status       int
			}{
				{"method before Content-Type", "PUT", header{}, bad, 405},
				{"Content-Type missing before parsing", "POST", header{}, bad, 400},
				{"parsing before validation", "POST", header{"Content-Type": string(JSON)}, bad, 400},
				{"validation before Accept", "POST", header{"Content-Type": string(JSON), "Accept": "text/html"}, `{"type":"SUBSCRIBE"}`, 400},
				{
					"Accept before stream id", "POST",
					header{"Content-Type": string(JSON), "Accept": "text/html", "Mesos-Stream-Id": "x"},
					`{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"e"}}}`, 406,
				},
				{"framework before stream id", "POST", header{"Content-Type": string(JSON)}, `{"type":"REVIVE","framework_id":{"value":"none"}}`, 400},
			} {
				a, err := c.master.send(c.ctx, row.method, schedulerAPI.path, row.h, []byte(row.body))
				if err != nil {
					c.Fatal(err)
				}
				equal(c, row.what, a.Status, row.status)
			}
		}},
		{Name: "status/stream id of another framework", Doc: "§2.1 row 17", Run: func(c *C) {
			f, g := c.Framework(Spec{}), c.Framework(Spec{})
			own := f.StreamID
			f.StreamID = g.StreamID
			a := f.Expect(http.StatusBadRequest, "REVIVE", Doc{})
			equal(c, "body", a.Body, fmt.Sprintf("The stream ID '%s' included in this request didn't match the stream ID currently associated with framework ID %s", g.StreamID, f.ID))
			f.StreamID = own
			f.Call("REVIVE", Doc{})
		}},
		{Name: "status/calls share no order with the stream", Doc: "§1", Run: func(c *C) {
			// Many calls on one connection, while the stream is open on another.
			f := c.Framework(Spec{Caps: []string{"PARTITION_AWARE"}})
			for i := range 30 {
				f.Call("RECONCILE", Doc{"reconcile": Doc{"tasks": list(Doc{"task_id": value(fmt.Sprintf("n%d", i))})}})
			}
			last := -1
			for i := range 30 {
				e := f.Event("answer", update(fmt.Sprintf("n%d", i), "TASK_UNKNOWN"))
				if e.N < last {
					c.Errorf("answer to call %d came before that to call %d", i, i-1)
				}
				last = e.N
			}
		}},
	}
}

// post posts a raw body to the scheduler endpoint.
func (c *C) post(enc Encoding, body []byte) answer {
	c.Helper()
	a, err := c.master.send(c.ctx, http.MethodPost, schedulerAPI.path, header{"Content-Type": string(enc), "Accept": string(enc)}, body)
	if err != nil {
		c.Fatal(err)
	}
	return a
}

func authChecks() []Check {
	return []Check{
		{Name: "auth/principal is filled in", Doc: "§2.2, §10; R02c", Needs: NeedPrincipal, Run: func(c *C) {
			f := c.newFramework(Spec{})
			delete(f.info, "principal")
			f.Subscribe()
			equal(c, "principal", text(c.framework(f.ID), "principal"), c.target.Principal)
		}},
		{Name: "auth/other principal in FrameworkInfo", Doc: "§2.2; R02c", Needs: NeedPrincipal, Run: func(c *C) {
			f := c.newFramework(Spec{Info: Doc{"principal": "somebody else"}})
			a := f.open()
			equal(c, "status", a.Status, http.StatusBadRequest)
			equal(c, "body", a.Body, fmt.Sprintf(
				"Failed to validate scheduler::Call: Authenticated principal '%s' does not match principal 'somebody else' set in `FrameworkInfo`", c.target.Principal))
		}},
		{Name: "auth/every call needs credentials", Doc: "§10; R02c", Needs: NeedPrincipal, Run: func(c *C) {
			f := c.Framework(Spec{})
			body := mustJSON(Doc{"type": "REVIVE", "framework_id": value(f.ID)})
			a, err := c.master.send(c.ctx, http.MethodPost, schedulerAPI.path,
				header{"Content-Type": string(JSON), "Mesos-Stream-Id": f.StreamID, "Authorization": ""}, body)
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "status", a.Status, http.StatusUnauthorized)
			equal(c, "WWW-Authenticate", a.Header.Get("WWW-Authenticate"), `Basic realm="mesos-master-scheduler"`)
		}},
		{Name: "auth/health and version need none", Doc: "R02c", Needs: NeedPrincipal, Run: func(c *C) {
			for _, path := range []string{"/health", "/version"} {
				a, err := c.master.send(c.ctx, http.MethodGet, path, header{"Authorization": ""}, nil)
				if err != nil {
					c.Fatal(err)
				}
				equal(c, path, a.Status, http.StatusOK)
			}
		}},
		{Name: "auth/no authentication, credentials are not looked at", Doc: "§10", Needs: NeedAnonymous, Run: func(c *C) {
			a, err := c.master.send(c.ctx, http.MethodPost, schedulerAPI.path,
				header{"Content-Type": string(JSON), "Authorization": "Basic " + b64("who:ever")}, []byte(strings.TrimSpace(`{}`)))
			if err != nil {
				c.Fatal(err)
			}
			equal(c, "status", a.Status, http.StatusBadRequest) // row 8, not 401
		}},
	}
}
