package driver

import (
	"encoding/binary"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/mesoswire"
)

var (
	decoder       = mesoswire.NewDecoder(new(scheduler.Event))
	offersDecoder = mesoswire.NewDecoder(new(scheduler.Event_Offers))
)

// Fields of scheduler.Event.
const (
	fieldType   = 1
	fieldOffers = 3
)

// bigEvent is the size in bytes above which offers are taken a part at a time, and of
// about which the parts are: the offers of 100,000 agents in one event would take a
// gigabyte when decoded, and they need not all be there at once.
const bigEvent = 256 << 10

// take decodes an event and hands it on; offers perhaps as several events.
func (s *session) take(record []byte) error {
	if len(record) > bigEvent {
		if offers, err := offersOf(record); err != nil || offers != nil {
			if err == nil {
				err = s.takeOffers(offers)
			}
			return err
		}
	}
	event := new(scheduler.Event)
	if err := decoder.Decode(record, event); err != nil {
		return err
	}
	s.handle(event)
	return nil
}

// offersOf returns the bytes of scheduler.Event_Offers; nil: it is another event.
func offersOf(record []byte) ([]byte, error) {
	var offers []byte
	isOffers := false
	for f, err := range mesoswire.Fields(record) {
		switch {
		case err != nil:
			return nil, err
		case f.Number == fieldType && f.Value == nil:
			kind, _ := binary.Uvarint(f.Raw[1:])
			isOffers = kind == uint64(scheduler.Event_OFFERS)
		case f.Number == fieldOffers && f.Value != nil:
			// There is one. Were there several, they would be one message, in parts.
			if offers == nil {
				offers = f.Value
			} else {
				offers = append(append([]byte{}, offers...), f.Value...)
			}
		}
	}
	if !isOffers {
		return nil, nil
	}
	return offers, nil
}

func (s *session) takeOffers(b []byte) error {
	var part []byte
	flush := func() error {
		offers := new(scheduler.Event_Offers)
		if err := offersDecoder.Decode(part, offers); err != nil {
			return err
		}
		s.handle(&scheduler.Event{Type: scheduler.Event_OFFERS, Offers: offers})
		part = part[:0]
		return nil
	}
	for f, err := range mesoswire.Fields(b) {
		if err != nil {
			return err
		}
		if part = append(part, f.Raw...); len(part) >= bigEvent {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(part) == 0 {
		return nil
	}
	return flush()
}
