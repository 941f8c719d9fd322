package wire

import (
	"net/http"
	"strconv"
	"strings"
)

// Accept chooses the encoding of an answer: JSON if the request allows it, else
// protobuf, else 406. A request without an Accept header allows everything.
func Accept(r *http.Request) (Codec, *Refusal) {
	values, present := r.Header["Accept"]
	accept := strings.Join(values, ",")
	switch {
	case !present || accepts(accept, JSON.mediaType):
		return JSON, nil
	case accepts(accept, Protobuf.mediaType):
		return Protobuf, nil
	default:
		return Codec{}, Refuse(http.StatusNotAcceptable, "Expecting 'Accept' to allow '%s' or '%s'", Protobuf.mediaType, JSON.mediaType)
	}
}

// accepts follows libprocess: the most specific entry that matches decides, and any
// weight above zero is as good as one.
func accepts(accept, mediaType string) bool {
	accept = strings.NewReplacer(" ", "", "\t", "").Replace(accept)
	family, _, _ := strings.Cut(mediaType, "/")
	for _, candidate := range []string{mediaType, family + "/*", "*/*"} {
		for entry := range strings.SplitSeq(accept, ",") {
			name, parameters, _ := strings.Cut(entry, ";")
			if strings.EqualFold(name, candidate) {
				return positive(parameters)
			}
		}
	}
	return false
}

// positive is false if the parameters give a weight (q=) that is zero or no number.
func positive(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		if key, value, ok := strings.Cut(parameter, "="); ok && key == "q" {
			q, err := strconv.ParseFloat(value, 64)
			return err == nil && q > 0
		}
	}
	return true
}
