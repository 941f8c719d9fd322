package pool

import (
	"strings"

	"lode/pool/api"
	"lode/stratum"
)

// ParseLimits reads what a proxy is to put up with by the names of its flags: those of the
// HTTP API with their api-, the others without their limit-. What is not named has its
// default.
func ParseLimits(values map[string]string) (miners stratum.Limits, http api.Limits, err error) {
	ofMiners, ofAPI := make(map[string]string), make(map[string]string)
	for name, value := range values {
		if short, ok := strings.CutPrefix(name, "api-"); ok {
			ofAPI[short] = value
		} else {
			ofMiners[name] = value
		}
	}
	if miners, err = stratum.ParseLimits(ofMiners); err != nil {
		return miners, http, err
	}
	http, err = api.ParseLimits(ofAPI)
	return miners, http, err
}
