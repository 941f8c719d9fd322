package master

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/maintenance"

	"lode/devmesos/internal/wire"
)

// view serves what a function of the loop makes of the query.
func (m *Master) view(make func(url.Values) any) http.HandlerFunc {
	return m.forOperators("readonly", func(w http.ResponseWriter, r *http.Request) {
		var v []byte
		if !m.call(func() { v = wire.AppendJSON(nil, make(r.URL.Query())) }) {
			panic(http.ErrAbortHandler)
		}
		writeBody(w, r, v)
	})
}

// forOperators demands an operator's credentials, if there are any.
func (m *Master) forOperators(realm string, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, refusal := authenticate(r, m.cfg.OperatorCredentials, "mesos-master-"+realm); refusal != nil {
			refusal.Write(w)
			return
		}
		serve(w, r)
	}
}

// change serves a POST whose body is read by do, which runs outside of the loop.
func (m *Master) change(do func(body []byte) *wire.Refusal) http.HandlerFunc {
	return m.forOperators("readwrite", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			wire.MethodNotAllowed(r, http.MethodPost).Write(w)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
		if err != nil {
			wire.WriteText(w, http.StatusBadRequest, "Failed to read the body: "+err.Error())
			return
		}
		if refusal := do(body); refusal != nil {
			refusal.Write(w)
			return
		}
		wire.WriteText(w, http.StatusOK, "")
	})
}

func (m *Master) tasksView(q url.Values) any {
	limit, offset := 100, 0
	if n, err := strconv.Atoi(q.Get("limit")); err == nil && n >= 0 {
		limit = n
	}
	if n, err := strconv.Atoi(q.Get("offset")); err == nil && n >= 0 {
		offset = n
	}
	tasks := slices.DeleteFunc(m.allTasks(), func(t *task) bool {
		return (q.Has("framework_id") && q.Get("framework_id") != t.fw.id) ||
			(q.Has("task_id") && q.Get("task_id") != t.info.TaskID.Value)
	})
	if q.Get("order") == "asc" {
		slices.Reverse(tasks)
	}
	offset = min(offset, len(tasks))
	tasks = tasks[offset:min(len(tasks), offset+limit)]
	views := make([]taskView, len(tasks))
	for i, t := range tasks {
		views[i] = t.view()
	}
	return map[string][]taskView{"tasks": views}
}

// summaryStates are the states of which /state-summary gives numbers.
var summaryStates = []mesos.TaskState{
	mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING, mesos.TASK_FINISHED,
	mesos.TASK_KILLED, mesos.TASK_FAILED, mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_UNREACHABLE,
}

func countStates(into map[string]any, tasks []*task) {
	for _, s := range summaryStates {
		n := 0
		for _, t := range tasks {
			if t.state == s {
				n++
			}
		}
		into[s.String()] = n
	}
}

// summaryView is /state-summary: agents and frameworks with numbers in place of tasks.
func (m *Master) summaryView(url.Values) any {
	all := m.allTasks()
	of := func(is func(*task) bool) []*task {
		return slices.DeleteFunc(slices.Clone(all), func(t *task) bool { return !is(t) })
	}
	slaves, frameworks := []any{}, []any{}
	for _, id := range sortedKeys(m.agents) {
		tasks := of(func(t *task) bool { return t.agent == id })
		counts := make(map[string]any)
		countStates(counts, tasks)
		counts["framework_ids"] = distinct(tasks, func(t *task) string { return t.fw.id })
		slaves = append(slaves, wire.Merged{m.slaveView(m.agents[id]), counts})
	}
	for _, id := range sortedKeys(m.frameworks) {
		fw := m.frameworks[id]
		tasks := of(func(t *task) bool { return t.fw == fw })
		v := m.frameworkView(fw)
		counts := map[string]any{
			"id": fw.id, "name": v.Name, "used_resources": v.Used, "offered_resources": v.Offered, "capabilities": v.Caps,
			"hostname": v.Hostname, "webui_url": v.WebUI, "active": v.Active, "connected": v.Connected, "recovered": v.Recovered,
			"slave_ids": distinct(tasks, func(t *task) string { return t.agent }),
		}
		countStates(counts, tasks)
		frameworks = append(frameworks, counts)
	}
	return map[string]any{"hostname": *m.info.Hostname, "slaves": slaves, "frameworks": frameworks}
}

func distinct(tasks []*task, of func(*task) string) []string {
	list := []string{}
	for _, t := range tasks {
		list = append(list, of(t))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// rolesView is /roles.
func (m *Master) rolesView(url.Values) any {
	roles := []any{}
	for _, name := range m.roleNames() {
		role := m.describeRole(name)
		used := quantities(role.used)
		roles = append(roles, map[string]any{
			"name": name, "weight": 1.0, "frameworks": role.frameworks,
			"quota":     m.quotaView(name, role.used),
			"resources": quantities(role.used.Plus(role.offered)), "allocated": used, "offered": quantities(role.offered),
			"reserved": object{},
		})
	}
	return map[string]any{"roles": roles}
}

// object is an empty JSON object.
type object struct{}

// teardown is POST /teardown with frameworkId=ID.
func (m *Master) teardown(body []byte) *wire.Refusal {
	values, err := url.ParseQuery(strings.TrimSpace(string(body)))
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "Unable to decode query string: %v", err)
	}
	id := values.Get("frameworkId")
	if id == "" {
		return wire.Refuse(http.StatusBadRequest, "Missing 'frameworkId' query parameter")
	}
	var refusal *wire.Refusal
	m.call(func() { refusal = m.teardownByID(id) })
	return refusal
}

func (m *Master) teardownByID(id string) *wire.Refusal {
	fw := m.frameworks[id]
	if fw == nil {
		return wire.Refuse(http.StatusBadRequest, "No framework found with specified ID")
	}
	m.removeFramework(fw)
	return nil
}

// serveSchedule is /maintenance/schedule: GET shows it, POST replaces it.
func (m *Master) serveSchedule(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		m.view(func(url.Values) any { return ptr(m.cfg.Registry.maintenance()) })(w, r)
		return
	}
	m.change(func(body []byte) *wire.Refusal {
		var schedule maintenance.Schedule
		if err := wire.JSON.Unmarshal(body, &schedule); err != nil {
			return wire.Refuse(http.StatusBadRequest, "%v", err)
		}
		var refusal *wire.Refusal
		m.call(func() { refusal = m.replaceSchedule(schedule) })
		return refusal
	})(w, r)
}

func (m *Master) replaceSchedule(schedule maintenance.Schedule) *wire.Refusal {
	seen := make(map[string]bool)
	for _, window := range schedule.Windows {
		if len(window.MachineIDs) == 0 {
			return wire.Refuse(http.StatusBadRequest, "List of machines in the maintenance window is empty")
		}
		for _, id := range window.MachineIDs {
			if id.Hostname == nil && id.IP == nil {
				return wire.Refuse(http.StatusBadRequest, "Both 'hostname' and 'ip' for a machine are empty")
			}
			key := id.GetHostname() + "/" + id.GetIP()
			if seen[key] {
				return wire.Refuse(http.StatusBadRequest, "Machine '%s' appears more than once in the schedule", wire.AppendJSON(nil, &id))
			}
			seen[key] = true
		}
	}
	m.setSchedule(schedule)
	return nil
}

// machines serves /machine/down and /machine/up.
func (m *Master) machines(change func([]mesos.MachineID)) http.HandlerFunc {
	return m.change(func(body []byte) *wire.Refusal {
		ids, err := wire.UnmarshalList[mesos.MachineID](body)
		if err != nil {
			return wire.Refuse(http.StatusBadRequest, "%v", err)
		}
		m.call(func() { change(ids) })
		return nil
	})
}
