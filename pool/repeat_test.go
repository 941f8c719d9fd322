package pool_test

import (
	"fmt"
	"strings"
	"testing"

	"lode/pool"
)

// TestRepeatedJob: a pool that sends its job once more, under another id or on another
// connection, has nobody search the same again: many miners begin anew with each job, and
// what they found of it before would be worth nothing.
func TestRepeatedJob(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	job := poolJob("0", node, nil)
	first := job[3].(string)
	other := strings.Replace(first, "0102030405060708", "0807060504030201", 1)
	up.notify(job)
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}}))
	m := p.miner("rig.1")
	last := ""
	// mine hands in a share of the newest job, and says what it was for at the pool.
	mine := func() any {
		t.Helper()
		j, err := m.job(anyJob)
		if err != nil {
			t.Fatal(err)
		}
		if j.ID != last {
			last, m.e2 = j.ID, 0
		}
		before := up.submitted()
		if err := m.submit(m.solve(j, 0)); err != nil {
			t.Fatalf("a share of job %s: %v", j.ID, err)
		}
		p.eventually("the share is at the pool", func() bool { return up.submitted() > before })
		up.mu.Lock()
		defer up.mu.Unlock()
		return up.submits[len(up.submits)-1][1]
	}
	jobs := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.jobs)
	}
	began, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	mine()
	for i := range 50 { // far more than there are seconds left in the job
		job[0], job[8] = fmt.Sprint(i), i%2 == 0
		up.notify(job)
		for mine() != job[0] {
		}
	}
	if n := jobs(); n != 1 {
		t.Errorf("%d jobs for one", n)
	}
	for i := range 5 {
		before := jobs()
		switch i {
		case 0:
			up.drop()
		case 1:
			up.mu.Lock()
			up.difficulty *= 2
			up.mu.Unlock()
			up.notify(job)
		case 2, 3: // in turn with another one
			job[3] = []string{other, first}[i-2]
			up.notify(job)
		case 4: // the seconds that follow may have been searched as well
			job[0], job[7] = "later", fmt.Sprintf("%08x", began.Time+1)
			up.notify(job)
		}
		p.eventually("there is another job", func() bool { return jobs() > before })
		mine()
	}
}
