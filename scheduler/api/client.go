package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// StatusPath is where a scheduler serves its Status.
const StatusPath = "/api/v1/status"

// maxStatus bounds what Fetch reads, in bytes.
const maxStatus = 256 << 20

// Fetch gets the status of the scheduler at base, a URL or host:port.
func Fetch(ctx context.Context, base string) (*Status, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("scheduler %q is not a URL such as http://host:8650", base)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(u.String(), "/")+StatusPath, nil)
	if err != nil {
		return nil, fmt.Errorf("scheduler %q: %w", base, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("no answer from the scheduler at %s: %w", base, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scheduler at %s: %s; is it a lode scheduler?", base, resp.Status)
	}
	s := new(Status)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(s); err != nil {
		return nil, fmt.Errorf("status of the scheduler at %s: %w", base, err)
	}
	return s, nil
}
