package core

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Calls that answer offers come by the thousand. Each is made in one piece, and not part
// by part as package calls does it.

// acceptOf launches tasks on an offer; the rest of it is refused for so long.
func acceptOf(offer mesos.OfferID, tasks []mesos.TaskInfo, refuse time.Duration) *scheduler.Call {
	c := &struct {
		call       scheduler.Call
		accept     scheduler.Call_Accept
		offers     [1]mesos.OfferID
		operations [1]mesos.Offer_Operation
		launch     mesos.Offer_Operation_Launch
		filters    mesos.Filters
		seconds    float64
	}{}
	c.seconds = refuse.Seconds()
	c.filters.RefuseSeconds = &c.seconds
	c.launch.TaskInfos = tasks
	c.operations[0] = mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH, Launch: &c.launch}
	c.offers[0] = offer
	c.accept = scheduler.Call_Accept{OfferIDs: c.offers[:], Operations: c.operations[:], Filters: &c.filters}
	c.call = scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &c.accept}
	return &c.call
}

// declineOf refuses an offer for so long.
func declineOf(offer mesos.OfferID, refuse time.Duration) *scheduler.Call {
	c := &struct {
		call    scheduler.Call
		decline scheduler.Call_Decline
		offers  [1]mesos.OfferID
		filters mesos.Filters
		seconds float64
	}{}
	c.seconds = refuse.Seconds()
	c.filters.RefuseSeconds = &c.seconds
	c.offers[0] = offer
	c.decline = scheduler.Call_Decline{OfferIDs: c.offers[:], Filters: &c.filters}
	c.call = scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &c.decline}
	return &c.call
}
