package master

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/wire"
)

const streamIDHeader = "Mesos-Stream-Id"

// teardownWait is how long the answer to TEARDOWN waits for the end of the stream,
// which clients of a real master see first.
const teardownWait = time.Second

// serveScheduler is POST /api/v1/scheduler. The checks come in the order of a real
// master (Master::Http::scheduler), which clients can tell by the answer.
func (m *Master) serveScheduler(w http.ResponseWriter, r *http.Request) {
	principal, refusal := authenticate(r, m.cfg.Credentials, "mesos-master-scheduler")
	if refusal == nil {
		refusal = m.refuseUnavailable(r)
	}
	var call scheduler.Call
	var body *wire.Call
	if refusal == nil {
		body, refusal = wire.ReadCall(r, &call)
	}
	if refusal == nil {
		refusal = validateCall(&call, body.HasType, principal)
	}
	var limits constrainedCall
	if refusal == nil {
		if err := body.Also(&limits); err != nil {
			refusal = wire.Refuse(http.StatusBadRequest, "Failed to parse body into Call protobuf")
		}
	}
	codec := wire.JSON
	if refusal == nil && (call.Type == scheduler.Call_SUBSCRIBE || call.Type == scheduler.Call_RECONCILE_OPERATIONS) {
		codec, refusal = wire.Accept(r)
	}
	switch {
	case refusal != nil:
		refusal.Write(w)
	case call.Type == scheduler.Call_SUBSCRIBE:
		m.serveSubscribe(w, r, &call, principal, codec, limits.of())
	default:
		m.serveCall(w, r, &call, principal, limits.of())
	}
}

func (m *Master) serveSubscribe(w http.ResponseWriter, r *http.Request, call *scheduler.Call, principal string, codec wire.Codec, limits *constraints) {
	if r.Header.Get(streamIDHeader) != "" {
		wire.Refuse(http.StatusBadRequest, "Subscribe calls should not include the 'Mesos-Stream-Id' header").Write(w)
		return
	}
	s := subscription{
		info:        *call.Subscribe.FrameworkInfo,
		suppressed:  call.Subscribe.SuppressedRoles,
		constraints: limits,
		principal:   principal,
		stream:      wire.NewStream(codec),
		streamID:    newStreamID(),
	}
	ok := m.call(func() {
		s.stream.SetFraming(m.faults.framing)
		m.subscribe(s)
	})
	if !ok {
		panic(http.ErrAbortHandler) // the master ended meanwhile
	}
	w.Header().Set(streamIDHeader, s.streamID)
	s.stream.Serve(w, r)
}

func (m *Master) serveCall(w http.ResponseWriter, r *http.Request, call *scheduler.Call, principal string, limits *constraints) {
	var refusal *wire.Refusal
	var stream *wire.Stream
	ok := m.call(func() {
		fw := m.frameworks[call.FrameworkID.Value]
		if refusal = checkSubscribed(fw, call, principal, r.Header.Get(streamIDHeader)); refusal != nil {
			return
		}
		stream = fw.stream
		refusal = m.handleCall(fw, call, limits)
	})
	switch {
	case !ok:
		panic(http.ErrAbortHandler)
	case refusal != nil:
		refusal.Write(w)
		return
	case call.Type == scheduler.Call_TEARDOWN:
		select {
		case <-stream.Done():
		case <-time.After(teardownWait):
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// checkSubscribed refuses calls that do not come from the framework's current stream.
func checkSubscribed(fw *framework, call *scheduler.Call, principal, streamID string) *wire.Refusal {
	switch {
	case fw == nil:
		return wire.Refuse(http.StatusBadRequest, "Framework cannot be found")
	case principal != "" && principal != fw.info.GetPrincipal():
		return wire.Refuse(http.StatusBadRequest, "Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", principal, fw.info.GetPrincipal())
	case !fw.connected():
		return wire.Refuse(http.StatusForbidden, "Framework is not subscribed")
	case streamID == "":
		return wire.Refuse(http.StatusBadRequest, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
	case streamID != fw.streamID:
		return wire.Refuse(http.StatusBadRequest, "The stream ID '%s' included in this request didn't match the stream ID currently associated with framework ID %s", streamID, fw.id)
	default:
		return nil
	}
}

// authenticate checks HTTP basic credentials, if there are any to check against.
func authenticate(r *http.Request, credentials map[string]string, realm string) (string, *wire.Refusal) {
	if len(credentials) == 0 {
		return "", nil
	}
	principal, secret, _ := r.BasicAuth()
	want, known := credentials[principal]
	if known && subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 1 {
		return principal, nil
	}
	return "", &wire.Refusal{
		Status: http.StatusUnauthorized,
		Body:   "401 Unauthorized.",
		Header: http.Header{"WWW-Authenticate": {fmt.Sprintf("Basic realm=%q", realm)}},
	}
}

// refuseUnavailable is the answer while the master recovers, or is told not to work.
func (m *Master) refuseUnavailable(r *http.Request) *wire.Refusal {
	if time.Now().UnixNano() < m.unavailableUntil.Load() {
		return wire.Refuse(http.StatusServiceUnavailable, "Master has not finished recovery")
	}
	if m.redirects.Load() {
		return &wire.Refusal{
			Status: http.StatusTemporaryRedirect,
			Header: http.Header{"Location": {"//" + m.cfg.Address + r.URL.Path}},
		}
	}
	return nil
}
