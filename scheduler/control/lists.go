package control

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lode/scheduler/api"
)

// Sizes of pages.
const (
	usualPage = 1000
	mostPage  = 10_000
)

// page cuts a page out of a list. Items are in the order of key, which is unique;
// after is the key of the last item of the page before.
func page[T any](list []T, key func(*T) string, q url.Values) (api.Page[T], error) {
	limit := usualPage
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostPage {
			return api.Page[T]{}, faultf(http.StatusBadRequest, "limit is %.20q: want 1 to %d", text, mostPage)
		}
		limit = n
	}
	begin := 0
	if after := q.Get("after"); after != "" {
		begin = len(list)
		for i := range list {
			if key(&list[i]) == after {
				begin = i + 1
				break
			}
		}
		if begin == len(list) && (len(list) == 0 || key(&list[len(list)-1]) != after) {
			// It ended meanwhile. Where the order is that of the keys, go on behind it.
			begin, _ = slices.BinarySearchFunc(list, after, func(item T, after string) int { return strings.Compare(key(&item), after) })
		}
	}
	p := api.Page[T]{Items: list[begin:min(len(list), begin+limit)], Total: len(list)}
	if end := begin + len(p.Items); end < len(list) {
		p.Next = key(&list[end-1])
	}
	if p.Items == nil {
		p.Items = []T{}
	}
	return p, nil
}

func only[T any](list []T, keep func(*T) bool) []T {
	var kept []T
	for i := range list {
		if keep(&list[i]) {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// filter refuses parameters that the list does not know: a typing error must not
// look like an empty list.
func filter(r *http.Request, names ...string) (url.Values, error) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains(names, name) && name != "limit" && name != "after" {
			return nil, faultf(http.StatusBadRequest, "there is no parameter %.40q: want %s, limit or after", name, strings.Join(names, ", "))
		}
	}
	return q, nil
}

// is says that a filter lets a value pass.
func is(q url.Values, name string, values ...string) bool {
	want := q.Get(name)
	return want == "" || slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, want) })
}

func (h *handler) status(w http.ResponseWriter, _ *http.Request, _ string) error {
	write(w, http.StatusOK, h.Scheduler.Status())
	return nil
}

func (h *handler) tasks(w http.ResponseWriter, r *http.Request, _ string) error {
	q, err := filter(r, "kind", "state", "agent", "kernel", "q")
	if err != nil {
		return err
	}
	list := only(h.look().Tasks, func(t *api.Task) bool {
		return is(q, "kind", t.Kind) && is(q, "state", t.State, strings.TrimPrefix(t.State, "TASK_")) && is(q, "agent", t.AgentID, t.Hostname) &&
			is(q, "kernel", t.Kernel) && (q.Get("q") == "" || strings.Contains(t.ID, q.Get("q")) || strings.Contains(t.Hostname, q.Get("q")))
	})
	slices.SortFunc(list, func(a, b api.Task) int { return strings.Compare(a.ID, b.ID) })
	p, err := page(list, func(t *api.Task) string { return t.ID }, q)
	if err == nil {
		write(w, http.StatusOK, p)
	}
	return err
}

func (h *handler) task(w http.ResponseWriter, r *http.Request, _ string) error {
	id := r.PathValue("task")
	for _, t := range h.look().Tasks {
		if t.ID == id {
			write(w, http.StatusOK, t)
			return nil
		}
	}
	return faultf(http.StatusNotFound, "there is no task %.80q", id)
}

func (h *handler) agents(w http.ResponseWriter, r *http.Request, _ string) error {
	q, err := filter(r, "agent")
	if err != nil {
		return err
	}
	list := only(h.look().Agents, func(a *api.Agent) bool { return is(q, "agent", a.ID, a.Hostname) })
	slices.SortFunc(list, func(a, b api.Agent) int { return strings.Compare(a.ID, b.ID) })
	p, err := page(list, func(a *api.Agent) string { return a.ID }, q)
	if err == nil {
		write(w, http.StatusOK, p)
	}
	return err
}

func (h *handler) offers(w http.ResponseWriter, r *http.Request, _ string) error {
	q, err := filter(r, "agent", "outcome")
	if err != nil {
		return err
	}
	list := only(h.look().Decisions, func(d *api.Decision) bool {
		return is(q, "agent", d.AgentID, d.Hostname) && is(q, "outcome", d.Outcome)
	})
	p, err := page(list, func(d *api.Decision) string { return d.OfferID }, q)
	if err == nil {
		write(w, http.StatusOK, p)
	}
	return err
}

func (h *handler) blocks(w http.ResponseWriter, r *http.Request, _ string) error {
	q, err := filter(r, "state", "finder")
	if err != nil {
		return err
	}
	list := only(h.look().Blocks, func(b *api.Block) bool { return is(q, "state", b.State) && is(q, "finder", b.Finder) })
	p, err := page(list, func(b *api.Block) string { return b.Hash }, q)
	if err == nil {
		write(w, http.StatusOK, p)
	}
	return err
}

func (h *handler) control(w http.ResponseWriter, _ *http.Request, _ string) error {
	write(w, http.StatusOK, h.Scheduler.Control())
	return nil
}

func (h *handler) upgrade(w http.ResponseWriter, _ *http.Request, _ string) error {
	write(w, http.StatusOK, h.Scheduler.Control().Upgrade)
	return nil
}

func (h *handler) why(w http.ResponseWriter, r *http.Request, _ string) error {
	q, err := filter(r, "agent")
	if err != nil {
		return err
	}
	why, err := explain(h.look(), h.Scheduler.Control(), q.Get("agent"))
	if err == nil {
		write(w, http.StatusOK, why)
	}
	return err
}

// explain answers why nothing is mining on an agent, or "": anywhere.
func explain(s *api.Status, c api.Control, agent string) (api.Why, error) {
	why := api.Why{Agent: agent, Promises: []api.WhyPromise{}}
	known, miners := agent == "", 0
	mine := func(id, hostname string) bool { return agent == "" || id == agent || hostname == agent }
	for _, a := range s.Agents {
		known = known || mine(a.ID, a.Hostname)
	}
	for _, t := range s.Tasks {
		if mine(t.AgentID, t.Hostname) {
			known = true
			if t.Kind == "miner" && t.State == "TASK_RUNNING" && t.Killing == "" {
				miners++
				if t.Miner != nil && t.Miner.Host != nil {
					why.Promises = promised(why.Promises, t.Miner.Host.Promise, t.Hostname)
				}
			}
		}
	}
	var decisions []api.Decision
	for _, d := range s.Decisions {
		if mine(d.AgentID, d.Hostname) {
			known = true
			decisions = append(decisions, d)
		}
	}
	if !known {
		return why, faultf(http.StatusNotFound, "no agent %.80q is known: no offer of it came lately, and no task is on it", agent)
	}
	why.Groups = api.Reasons(decisions)
	slices.SortStableFunc(why.Promises, func(a, b api.WhyPromise) int { return b.Miners - a.Miners })
	why.Answer = answer(s, c, agent, miners, why.Groups)
	return why, nil
}

// promised counts a miner's promise in a list; there are few different ones.
func promised(list []api.WhyPromise, promise, hostname string) []api.WhyPromise {
	for i := range list {
		if list[i].Promise == promise {
			list[i].Miners++
			return list
		}
	}
	return append(list, api.WhyPromise{Promise: promise, Miners: 1, Example: hostname})
}

func answer(s *api.Status, c api.Control, agent string, miners int, groups []api.WhyReason) string {
	for _, d := range c.Drained {
		if agent != "" && d.Agent == agent {
			return fmt.Sprintf("%s drained it at %s", d.Who, d.Since.UTC().Format(time.RFC3339))
		}
	}
	switch {
	case !s.Connected:
		return "there is no subscription at a Mesos master: " + s.Error
	case len(s.Problems) > 0:
		return s.Problems[0].Text
	case c.Paused:
		return "mining is paused " + s.Paused + " (lode resume)"
	case s.Paused != "":
		return "mining is paused " + s.Paused
	case miners > 0:
		return fmt.Sprintf("%d miners run", miners)
	case s.Need.Suppressed:
		return "no offers are asked for: " + s.Need.Why
	case len(groups) > 0 && groups[0].Outcome != "accepted":
		return groups[0].Reason
	case len(groups) > 0:
		return "its last offer was accepted"
	case s.Need.Why != "":
		return s.Need.Why
	}
	return "no offer came lately: its resources are used by others, or refused for some minutes yet"
}

// events streams the feed, as server-sent events or, where application/x-ndjson is
// wanted, a JSON object a line.
func (h *handler) events(w http.ResponseWriter, r *http.Request, _ string) error {
	q := r.URL.Query()
	after := cmp.Or(r.Header.Get("Last-Event-ID"), q.Get("after"))
	var types []string
	if t := q.Get("type"); t != "" {
		types = strings.Split(t, ",")
	}
	lines := strings.Contains(r.Header.Get("Accept"), "ndjson")
	role, _, _ := h.Auth.identify(r) // he was admitted
	watcher, err := h.Events.Watch(after, role == Operate)
	if err != nil {
		return &fault{http.StatusServiceUnavailable, err}
	}
	defer watcher.Close()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	if lines {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriter(w)
	if !lines {
		fmt.Fprint(out, "retry: 2000\n\n")
	}
	for last := time.Now(); ; {
		// A reader that takes nothing for a while is cut off.
		_ = control.SetWriteDeadline(time.Now().Add(requestTime))
		if out.Flush() != nil || control.Flush() != nil {
			return nil
		}
		events, alive := nextEvents(r.Context(), watcher)
		if !alive {
			return nil
		}
		for _, e := range events {
			if len(types) > 0 && !slices.Contains(types, e.Type) && e.Type != "gap" {
				continue
			}
			b, err := json.Marshal(e)
			if err != nil {
				continue
			}
			if lines {
				fmt.Fprintf(out, "%s\n", b)
			} else {
				fmt.Fprintf(out, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Type, b)
			}
			last = time.Now()
		}
		if time.Since(last) >= aliveEvery && !lines { // though others may get many
			fmt.Fprint(out, ": still here\n\n")
			last = time.Now()
		}
	}
}
