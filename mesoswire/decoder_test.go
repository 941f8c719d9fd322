package mesoswire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/mesoswire"
)

// Tags of scheduler.Event.
const (
	tagType       = 1 << 3
	tagSubscribed = 2<<3 | 2
	tagOffers     = 3<<3 | 2
	tagUpdate     = 5<<3 | 2
	tagError      = 8<<3 | 2
)

func uvarint(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func join(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, uvarint(uint64(p))...)
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		}
	}
	return b
}

func message(tag int, body []byte) []byte { return join(tag, len(body), body) }

// nested is an UPDATE whose status tells of containers in containers.
func nested(depth int) []byte {
	id := message(1<<3|2, []byte("c"))
	for range depth {
		id = join(message(1<<3|2, []byte("c")), message(2<<3|2, id))
	}
	container := message(4<<3|2, id) // ContainerStatus.container_id
	state := join(message(1<<3|2, message(1<<3|2, []byte("t"))), 2<<3, 1)
	return message(tagUpdate, message(1<<3|2, join(state, message(13<<3|2, container))))
}

// hostile are records that end the process, or eat its memory, when they are decoded
// without a check.
func hostile() map[string][]byte {
	huge := uvarint(math.MaxInt64)
	negative := uvarint(math.MaxUint64)
	group := 200<<3 | 3
	return map[string][]byte{
		"length beyond the address space":           join(tagSubscribed, huge, "1234"),
		"negative length":                           join(tagOffers, negative, "1234"),
		"length beyond the end":                     join(tagError, 5, "1234"),
		"length of an unknown field":                join(100<<3|2, huge, "1234"),
		"length of an unknown field of a group":     join(group, 100<<3|2, huge, "1234"),
		"length in a message in a message":          message(tagOffers, message(1<<3|2, join(1<<3|2, huge, "1"))),
		"fixed number that is cut":                  join(100<<3|1, "123"),
		"fixed number in a group that is cut":       join(group, 100<<3|5, "1"),
		"group that does not end":                   join(group),
		"group that ends as another":                join(group, 201<<3|4),
		"end of a group that never began":           join(group + 1),
		"groups in groups":                          bytes.Repeat(uvarint(uint64(group)), 1<<20),
		"groups in groups, all of which end":        join(bytes.Repeat(uvarint(uint64(group)), 1<<20), bytes.Repeat(uvarint(uint64(group+1)), 1<<20)),
		"messages in messages":                      nested(5000),
		"number that does not end":                  bytes.Repeat([]byte{0xff}, 15),
		"field number 0":                            join(0<<3, 1),
		"field number that is too large":            join(uvarint(1<<33), 1),
		"wire type 6":                               join(100<<3|6, 1),
		"empty offers that fill gigabytes":          message(tagOffers, bytes.Repeat([]byte{1<<3 | 2, 0}, 4<<20)),
		"empty strings that fill gigabytes":         message(tagOffers, bytes.Repeat(message(1<<3|2, message(6<<3|2, nil)), 1<<20)),
		"subscribed, again and again, with masters": bytes.Repeat(message(tagSubscribed, message(3<<3|2, bytes.Repeat([]byte{12<<3 | 2, 0}, 100))), 100_000),
	}
}

func TestHostileRecordsAreRefused(t *testing.T) {
	d := mesoswire.NewDecoder(new(scheduler.Event))
	for name, record := range hostile() {
		t.Run(name, func(t *testing.T) {
			if err := d.Decode(record, new(scheduler.Event)); !errors.Is(err, mesoswire.ErrWire) {
				t.Errorf("%v", err)
			}
		})
	}
}

// This is why there is a check: without it the process ends.
func TestGeneratedCodePanicsWithoutTheCheck(t *testing.T) {
	panics := 0
	for _, record := range hostile() {
		if len(record) > 64 { // those would end this process, too
			continue
		}
		func() {
			defer func() {
				if recover() != nil {
					panics++
				}
			}()
			_ = new(scheduler.Event).Unmarshal(record)
		}()
	}
	if panics == 0 {
		t.Error("no record makes mesos-go's code panic any more: is the check still needed?")
	}
}

func TestGoodRecordsPass(t *testing.T) {
	offers := &scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{}}
	for range 10_000 {
		offers.Offers.Offers = append(offers.Offers.Offers, offer())
	}
	for name, m := range map[string]*scheduler.Event{
		"nothing":            {},
		"10,000 offers":      offers,
		"a message of 15 MB": {Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: strings.Repeat("x", 15<<20)}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got := new(scheduler.Event)
			if err := mesoswire.NewDecoder(got).Decode(b, got); err != nil || !got.Equal(m) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("fields of a version to come", func(t *testing.T) {
		b := join(tagType, 8, message(77<<3|2, []byte("new")), 78<<3, 5, 79<<3|3, 1<<3|5, "1234", 79<<3|4, 80<<3|1, "12345678")
		got := new(scheduler.Event)
		if err := mesoswire.NewDecoder(got).Decode(b, got); err != nil || got.Type != scheduler.Event_HEARTBEAT {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("containers in containers, as deep as people go", func(t *testing.T) {
		got := new(scheduler.Event)
		if err := mesoswire.NewDecoder(got).Decode(nested(30), got); err != nil {
			t.Error(err)
		}
	})
}

func offer() mesos.Offer {
	o := mesos.Offer{
		ID: mesos.OfferID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-O1234"}, FrameworkID: mesos.FrameworkID{Value: "F1"},
		AgentID: mesos.AgentID{Value: "7e606d99-1560-4253-8e1c-9f1b4a1b6c10-S1"}, Hostname: "agent-1.example",
	}
	for _, name := range []string{"cpus", "mem", "disk", "gpus"} {
		kind := mesos.SCALAR
		o.Resources = append(o.Resources, mesos.Resource{Name: name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: 4}})
	}
	return o
}

func TestFieldsPutTogetherAreTheMessage(t *testing.T) {
	m := &scheduler.Event_Offers{Offers: []mesos.Offer{offer(), offer(), offer()}}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	n := 0
	for f, err := range mesoswire.Fields(b) {
		if err != nil || f.Number != 1 {
			t.Fatalf("field %d: %v", f.Number, err)
		}
		one := new(mesos.Offer)
		if err := one.Unmarshal(f.Value); err != nil || !one.Equal(m.Offers[n]) {
			t.Errorf("offer %d: %v", n, err)
		}
		raw = append(raw, f.Raw...)
		n++
	}
	if n != 3 || !bytes.Equal(raw, b) {
		t.Errorf("%d fields, %d bytes of %d", n, len(raw), len(b))
	}
	for name, record := range hostile() {
		for f, err := range mesoswire.Fields(record) {
			if err != nil && !errors.Is(err, mesoswire.ErrWire) || err == nil && len(f.Raw) == 0 {
				t.Errorf("%s: field %d, %v", name, f.Number, err)
			}
		}
	}
}

// FuzzDecoder lets the generated code at whatever passes the check: it must not
// panic, and what it writes again must pass as well.
func FuzzDecoder(f *testing.F) {
	for _, record := range hostile() {
		if len(record) < 1<<10 {
			f.Add(record)
		}
	}
	one := offer()
	for _, m := range []proto.Message{
		&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: &scheduler.Event_Offers{Offers: []mesos.Offer{one}}},
		&executor.Event{Type: executor.Event_MESSAGE, Message: &executor.Event_Message{Data: []byte("x")}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(nested(3))
	decoders := map[*mesoswire.Decoder]func() proto.Message{
		mesoswire.NewDecoder(new(scheduler.Event)):        func() proto.Message { return new(scheduler.Event) },
		mesoswire.NewDecoder(new(scheduler.Event_Offers)): func() proto.Message { return new(scheduler.Event_Offers) },
		mesoswire.NewDecoder(new(executor.Event)):         func() proto.Message { return new(executor.Event) },
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for d, make := range decoders {
			m := make()
			if d.Decode(b, m) != nil {
				continue
			}
			again, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Decode(again, make()); err != nil {
				t.Errorf("%T written again: %v", m, err)
			}
		}
	})
}
