package conformance

import (
	"fmt"
	"strings"
)

func said(data string) func(Event) bool {
	return func(e Event) bool {
		return e.Type == "MESSAGE" && unb64(text(e.Doc, "message.data")) == data
	}
}

func (f *Framework) message(p *Probe, data string) {
	f.c.Helper()
	f.Call("MESSAGE", Doc{"message": Doc{"agent_id": value(p.agent), "executor_id": value(p.ID), "data": b64(data)}})
}

func messageChecks() []Check {
	return []Check{
		{Name: "messages/both ways", Doc: "§2.7, §2.9, §6.6; R07", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			f.message(p, `{"hello":1}`)
			p.Event("MESSAGE", said(`{"hello":1}`))
			p.Message(`{"rate":2}`)
			e := f.Event("MESSAGE", said(`{"rate":2}`))
			equal(c, "agent_id", text(e.Doc, "message.agent_id.value"), p.agent)
			equal(c, "executor_id", text(e.Doc, "message.executor_id.value"), p.ID)
		}},
		{Name: "messages/in protobuf, any bytes", Doc: "§1, §6.6", Run: func(c *C) {
			f := c.Framework(Spec{Enc: Protobuf})
			p, _ := f.Run(Prepared{})
			data := "\x00\xff\x80\n{"
			f.message(p, data)
			p.Event("MESSAGE", said(data))
			p.Message(data)
			f.Event("MESSAGE", said(data))
		}},
		{Name: "messages/100 KB", Doc: "§6.6; R07", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			data := strings.Repeat("y", 100<<10)
			f.message(p, data)
			p.Event("MESSAGE", said(data))
			p.Message(data)
			f.Event("MESSAGE", said(data))
		}},
		{Name: "messages/a burst keeps its order", Doc: "§6.6; R07", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, ids := f.Run(Prepared{})
			for i := range 20 {
				p.Message(fmt.Sprintf("n%d", i))
			}
			p.Update(ids[0], "TASK_FINISHED")
			last := -1
			for i := range 20 {
				e := f.Event("MESSAGE", said(fmt.Sprintf("n%d", i)))
				if e.N < last {
					c.Errorf("message %d came before message %d", i, i-1)
				}
				last = e.N
			}
			f.Take(ids[0], "TASK_FINISHED")
		}},
		{Name: "messages/unknown targets", Doc: "§2.7; R07", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			f.Call("MESSAGE", Doc{"message": Doc{"agent_id": value(p.agent), "executor_id": value("nope"), "data": b64("x")}})
			f.Call("MESSAGE", Doc{"message": Doc{"agent_id": value("nope-S1"), "executor_id": value(p.ID), "data": b64("x")}})
			c.never(p.current, c.target.Quiet, "a message for somebody else", ofType("MESSAGE"))
			f.message(p, "")
			p.Event("MESSAGE without data", ofType("MESSAGE"))
		}},
		{Name: "messages/before the executor subscribed: lost", Doc: "§2.7, §6.6", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, ids := f.Start(Prepared{})
			f.message(p, "early")
			p.Subscribe()
			p.Launched(ids[0])
			c.never(p.current, c.target.Quiet, "a message of before the subscription", ofType("MESSAGE"))
		}},
		{Name: "messages/while the scheduler is away: lost, updates are kept", Doc: "§2.4, §2.9; R07", Run: func(c *C) {
			f := c.Framework(Spec{FailoverTimeout: 60, Checkpoint: true})
			p, ids := f.Run(Prepared{})
			f.Disconnected()
			p.Message("lost?")
			p.Acknowledged(p.Update(ids[0], "TASK_RUNNING", Doc{"message": "while away"}))
			g := f.again()
			g.Subscribe()
			st := g.Take(ids[0], "TASK_RUNNING")
			equal(c, "message", text(st, "message"), "while away")
			g.Quiet("a message of before the resubscription", ofType("MESSAGE"))
			p.Message("now")
			g.Event("MESSAGE", said("now"))
		}},
		{Name: "messages/to an executor that ended", Doc: "§2.7; R07", Run: func(c *C) {
			f := c.Framework(Spec{})
			p, _ := f.Run(Prepared{})
			p.Exit(0)
			f.Event("FAILURE", failure(p.agent, p.ID))
			f.message(p, "after the end")
			f.Quiet("ERROR", ofType("ERROR"))
		}},
	}
}
