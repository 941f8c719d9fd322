package master

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// operate makes a call of the operator's API with a JSON body.
func (b *bench) operate(body string) (status int, text string) {
	s := serve(b.t, b, "POST", "/api/v1", http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, []byte(body))
	text = s.wait()
	return s.status(), text
}

func (b *bench) setQuota(config string) {
	b.t.Helper()
	if status, text := b.operate(`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[` + config + `]}}`); status != http.StatusOK || text != "" {
		b.t.Fatalf("%s: %d %s", config, status, text)
	}
}

// offeredCPUs is how many cpus a client was offered since it was asked last.
func (c *client) offeredCPUs() (cpus float64) {
	time.Sleep(3 * time.Second)
	for event := c.next(); event != nil; event = c.next() {
		offers, _ := dig(event, "offers", "offers").([]any)
		for _, o := range offers {
			for _, r := range dig(o, "resources").([]any) {
				if dig(r, "name") == "cpus" {
					cpus += dig(r, "scalar", "value").(float64)
				}
			}
		}
	}
	return cpus
}

// Who has a guarantee is served first, and what is lacked of it nobody else is offered; a
// limit bounds what a role is offered. Quotas outlive the master.
func TestQuota(t *testing.T) {
	onBench(t, Config{Registry: new(Registry)}, 2, func(b *bench) {
		of := func(role string) jsonObject {
			info := testFramework("MULTI_ROLE")
			info["roles"] = []any{role}
			return info
		}
		if status, text := b.operate(`{"type":"GET_QUOTA"}`); status != 200 || text != `{"type":"GET_QUOTA","get_quota":{"status":{}}}` {
			t.Errorf("%d %s", status, text)
		}
		b.setQuota(`{"role":"web","guarantees":{"cpus":{"value":3},"mem":{"value":1000}}},{"role":"batch","limits":{"cpus":{"value":1.5}}}`)
		mining := b.subscribe(of("mining"))
		if got := mining.offeredCPUs(); got != 5 {
			t.Errorf("%v of 8 cpus offered beside a guarantee of 3", got)
		}
		web := b.subscribe(of("web"))
		if got := web.offeredCPUs(); got != 3 {
			t.Errorf("%v cpus offered for a guarantee of 3", got)
		}
		var roles struct {
			Roles []struct {
				Name    string
				Offered map[string]float64
				Quota   struct{ Guarantee, Limit, Consumed map[string]float64 }
			}
		}
		if err := json.Unmarshal([]byte(serve(b.t, b, "GET", "/roles", nil, nil).wait()), &roles); err != nil {
			t.Fatal(err)
		}
		if len(roles.Roles) != 3 || roles.Roles[0].Name != "batch" || roles.Roles[0].Quota.Limit["cpus"] != 1.5 {
			t.Errorf("roles %+v", roles)
		} else if r := roles.Roles[2]; r.Name != "web" || r.Quota.Guarantee["cpus"] != 3 || r.Quota.Consumed["cpus"] != 0 || r.Offered["cpus"] != 3 {
			t.Errorf("role %+v", r)
		}

		// Without the guarantee the others get what is free, up to their limits.
		web.stream.cancel()
		mining.stream.cancel()
		b.setQuota(`{"role":"web"}`)
		batch := b.subscribe(of("batch"))
		if got := batch.offeredCPUs(); got != 1.5 {
			t.Errorf("%v cpus offered to a role that is limited to 1.5", got)
		}
		if _, text := b.operate(`{"type":"GET_QUOTA"}`); !strings.Contains(text, `"configs":[{"role":"batch","limits":{"cpus":{"value":1.5}}}]`) {
			t.Errorf("quotas: %s", text)
		}
		if text := serve(b.t, b, "GET", "/quota", nil, nil).wait(); !strings.Contains(text, `"infos":[{"role":"batch"}]`) {
			t.Errorf("quotas: %s", text)
		}

		for body, want := range map[string]string{
			`{"type":"UPDATE_QUOTA"}`: "Expecting 'update_quota' to be present",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a/b"}]}}`:                                                                                "nested role 'a/b' is not supported yet",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":""}]}}`:                                                                                   "Invalid 'QuotaConfig.role'",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","guarantees":{"cpus":{"value":-1}}}]}}`:                                               "Negative",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","limits":{"cpus":{"value":1e13}}}]}}`:                                                 "1 trillion",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","guarantees":{"cpus":{"value":2}},"limits":{"cpus":{"value":1}}}]}}`:                  "is not contained within the 'QuotaConfig.limits'",
			`{"type":"UPDATE_QUOTA","update_quota":{"quota_configs":[{"role":"a","guarantees":{"cpus":{"value":1}}},{"role":"b","guarantees":{"cpus":{"value":8}}}]}}`: "exceed cluster capacity",
		} {
			if status, text := b.operate(body); status != http.StatusBadRequest || !strings.Contains(text, want) {
				t.Errorf("%s gives %d %q, want %q", body, status, text, want)
			}
		}
		if status, _ := b.operate(`{"type":"UPDATE_QUOTA","update_quota":{"force":true,"quota_configs":[{"role":"a","guarantees":{"cpus":{"value":80}}}]}}`); status != 200 {
			t.Error("force does not help")
		}
		if got := batch.offeredCPUs(); got != 0 {
			t.Errorf("%v cpus offered where a guarantee takes all", got)
		}
		next, err := New(Config{Address: "127.0.0.1:5051", Registry: b.cfg.Registry})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		synctest.Wait()
		if _, text := (&bench{t: b.t, Master: next}).operate(`{"type":"GET_QUOTA"}`); !strings.Contains(text, `{"role":"a","guarantees":{"cpus":{"value":80.0}}}`) {
			t.Errorf("after a failover: %s", text)
		}
	})
}
