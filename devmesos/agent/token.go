package agent

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"lode/devmesos/internal/wire"
)

// claims are what an executor's token says: framework, executor, container. The order of the fields is that
// in which Mesos prints them.
type claims struct {
	FID string `json:"fid"`
	EID string `json:"eid"`
	CID string `json:"cid"`
}

// token makes the token of an executor; it is empty where none is demanded.
func (p *process) token(e *executor) (string, error) {
	if !p.config.AuthenticateHTTPExecutors {
		return "", nil
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"fid": e.framework.id(),
		"eid": e.id(),
		"cid": e.container,
	}).SignedString(p.config.JWTSecretKey)
}

// authenticate checks the token of a request; the claims are nil where none is demanded.
func (p *process) authenticate(r *http.Request) (*claims, *wire.Refusal) {
	if !p.config.AuthenticateHTTPExecutors {
		return nil, nil
	}
	text, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		return nil, unauthorized("")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, unauthorized(fmt.Sprintf("Invalid JWT: Expected 3 components in token, got %d", len(parts)))
	}
	if !p.signed(parts[0], parts[1], parts[2]) {
		return nil, unauthorized("Invalid JWT: Token signature does not match")
	}
	c := new(claims)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, c) != nil {
		return nil, unauthorized("Invalid JWT: Failed to parse payload")
	}
	return c, nil
}

// signed says whether a token is one of ours. Nothing in it ends by itself, so there is
// nothing else to validate; jwt.Parse would keep half of the program's methods for that.
func (p *process) signed(header, payload, signature string) bool {
	var h struct {
		Algorithm string `json:"alg"`
	}
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil || json.Unmarshal(text, &h) != nil || h.Algorithm != jwt.SigningMethodHS256.Alg() {
		return false
	}
	mac, err := base64.RawURLEncoding.DecodeString(signature)
	return err == nil && jwt.SigningMethodHS256.Verify(header+"."+payload, mac, p.config.JWTSecretKey) == nil
}

func unauthorized(description string) *wire.Refusal {
	challenge := `Basic realm="mesos-agent-executor",Bearer realm="mesos-agent-executor"`
	if description != "" {
		challenge += fmt.Sprintf(`, error="invalid_token", error_description="%s"`, description)
	}
	return &wire.Refusal{
		Status: http.StatusUnauthorized,
		Body:   "\"Basic\" authenticator returned:\n401 Unauthorized.\n\n\"Bearer\" authenticator returned:\n401 Unauthorized.",
		Header: http.Header{"WWW-Authenticate": {challenge}},
	}
}

// verify says whether a token belongs to an executor. Nobody's token is asked for nothing.
func (c *claims) verify(e *executor) *wire.Refusal {
	if c == nil {
		return nil
	}
	complain := func(format string, args ...any) *wire.Refusal {
		principal, _ := json.Marshal(struct {
			Claims *claims `json:"claims"`
		}{c})
		return wire.Refuse(http.StatusForbidden, "Authenticated principal '%s' does not contain %s", principal, fmt.Sprintf(format, args...))
	}
	switch {
	case c.FID != e.framework.id():
		return complain("an 'fid' claim with the framework ID %s, which is set in the call", e.framework.id())
	case c.EID != e.id():
		return complain("an 'eid' claim with the executor ID %s, which is set in the call", e.id())
	case c.CID != e.container:
		return complain("a 'cid' claim with the correct active ContainerID")
	}
	return nil
}
