package core

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Calls that answer offers: by the thousand, so they are made in one piece and not by
// the options of package calls.

func acceptOf(offer mesos.OfferID, launches []mesos.TaskInfo, refuse time.Duration) *scheduler.Call {
	return &scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
		OfferIDs: []mesos.OfferID{offer},
		Operations: []mesos.Offer_Operation{{
			Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: launches},
		}},
		Filters: refusing(refuse),
	}}
}

func declineOf(offer mesos.OfferID, refuse time.Duration) *scheduler.Call {
	return &scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &scheduler.Call_Decline{
		OfferIDs: []mesos.OfferID{offer}, Filters: refusing(refuse),
	}}
}

func refusing(d time.Duration) *mesos.Filters {
	seconds := d.Seconds()
	return &mesos.Filters{RefuseSeconds: &seconds}
}
