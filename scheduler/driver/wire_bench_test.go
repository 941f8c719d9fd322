package driver_test

import (
	"testing"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/mesoswire"
)

// BenchmarkWire measures what an event takes from its bytes to what the core is given, and
// a call until it is bytes. The Makefile keeps the compiler from inlining in mesos-go:
// compare with go test -gcflags=github.com/mesos/mesos-go/...=-l.
func BenchmarkWire(b *testing.B) {
	const (
		agent = "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-S12345"
		task  = "miner-" + agent + "-1234567"
	)
	role, running, source := "mining", mesos.TASK_RUNNING, mesos.SOURCE_EXECUTOR
	allocation := &mesos.Resource_AllocationInfo{Role: &role}
	scalar, ranges := mesos.SCALAR, mesos.RANGES
	amount := func(name string, v float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: &scalar, Scalar: &mesos.Value_Scalar{Value: v}, AllocationInfo: allocation}
	}
	resources := []mesos.Resource{
		amount("cpus", 16), amount("mem", 64_000), amount("disk", 500_000),
		{
			Name: "ports", Type: &ranges, AllocationInfo: allocation,
			Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 31000, End: 31007}, {Begin: 31010, End: 32000}}},
		},
	}
	ip, hostname := "10.1.2.3", "worker-00017.rack04.example.org"
	offers := &scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-O1234567"}, FrameworkID: mesos.FrameworkID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-0001"},
		AgentID: mesos.AgentID{Value: agent}, Hostname: hostname, Resources: resources, AllocationInfo: allocation,
		URL: &mesos.URL{Scheme: "http", Address: mesos.Address{Hostname: &hostname, IP: &ip, Port: 5051}},
		Attributes: []mesos.Attribute{
			{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "rack04"}}, {Name: "os", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "linux"}},
		},
	}}}}
	update := &scheduler.Event{Type: scheduler.Event_UPDATE, Update: &scheduler.Event_Update{Status: mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, State: &running, Source: &source, AgentID: &mesos.AgentID{Value: agent},
		ExecutorID: &mesos.ExecutorID{Value: task}, UUID: make([]byte, 16),
		ContainerStatus: &mesos.ContainerStatus{NetworkInfos: []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{{IPAddress: &ip}}}}},
	}}}
	message := &scheduler.Event{Type: scheduler.Event_MESSAGE, Message: &scheduler.Event_Message{
		AgentID: mesos.AgentID{Value: agent}, ExecutorID: mesos.ExecutorID{Value: task}, Data: make([]byte, 250),
	}}
	decoder := mesoswire.NewDecoder(new(scheduler.Event))
	for name, event := range map[string]*scheduler.Event{"offer": offers, "update": update, "message": message} {
		b.Run(name, func(b *testing.B) {
			wire, err := proto.Marshal(event)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := decoder.Decode(wire, new(scheduler.Event)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	no, value := false, "./lode-executor"
	accept := calls.Accept(calls.OfferOperations{calls.OpLaunch(mesos.TaskInfo{
		Name: "lode miner", TaskID: mesos.TaskID{Value: task}, AgentID: mesos.AgentID{Value: agent}, Resources: resources[:2], Data: make([]byte, 300),
		Executor: &mesos.ExecutorInfo{
			Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: task}, Resources: resources[:2],
			Command: &mesos.CommandInfo{Shell: &no, Value: &value, URIs: []mesos.CommandInfo_URI{{Value: "http://10.0.0.1:8080/artifacts/lode-executor"}}},
		},
	})}.WithOffers(mesos.OfferID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-O1234567"}))
	for name, call := range map[string]*scheduler.Call{"accept": accept, "acknowledge": calls.Acknowledge(agent, task, make([]byte, 16))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := proto.Marshal(call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
