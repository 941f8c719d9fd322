package master

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/allocator"
	"github.com/mesos/mesos-go/api/v1/lib/maintenance"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// inverseOffer asks a framework to leave an agent before its maintenance.
type inverseOffer struct {
	id     string
	number int
	fw     *framework
	agent  *agent
}

// leave is a framework's answer to an inverse offer.
type leave struct {
	framework string
	status    allocator.InverseOfferStatus
}

// isMachine says whether an agent runs on a machine.
func isMachine(machine mesos.MachineID, a *agent) bool {
	if machine.Hostname == nil && machine.IP == nil {
		return false
	}
	return (machine.Hostname == nil || strings.EqualFold(*machine.Hostname, a.info.Hostname)) &&
		(machine.IP == nil || *machine.IP == a.host)
}

// unavailability is when the agent's machine is to be maintained; nil if it is not.
func (m *Master) unavailability(a *agent) *mesos.Unavailability {
	for _, window := range m.cfg.Registry.maintenance().Windows {
		if slices.ContainsFunc(window.MachineIDs, func(id mesos.MachineID) bool { return isMachine(id, a) }) {
			unavailability := window.Unavailability
			return &unavailability
		}
	}
	return nil
}

// setSchedule takes a new maintenance schedule. Offers of agents for which something
// changes are taken back and made again.
func (m *Master) setSchedule(schedule maintenance.Schedule) {
	before := make(map[string]*mesos.Unavailability)
	for id, a := range m.agents {
		before[id] = m.unavailability(a)
	}
	m.cfg.Registry.setMaintenance(schedule)
	for _, id := range sortedKeys(m.agents) {
		a := m.agents[id]
		if now := m.unavailability(a); !now.Equal(before[id]) {
			m.rescindAll(a)
			a.leaving = nil
		}
	}
	m.allocateSoon()
}

// offerInverse asks frameworks to leave agents whose machines are to be maintained.
func (m *Master) offerInverse() {
	asked := make(map[*framework][]mesos.InverseOffer)
	for _, id := range sortedKeys(m.agents) {
		a := m.agents[id]
		unavailability := m.unavailability(a)
		if unavailability == nil || !a.connected {
			continue
		}
		for _, fwID := range sortedKeys(m.frameworks) {
			fw := m.frameworks[fwID]
			if !fw.connected() || !uses(fw, a) || fw.quiet[a.id] || slices.ContainsFunc(slices.Collect(maps.Values(fw.inverse)), func(o *inverseOffer) bool { return o.agent == a }) {
				continue
			}
			offerID, number := m.offerID()
			o := &inverseOffer{id: offerID, number: number, fw: fw, agent: a}
			m.inverse[o.id], fw.inverse[o.id] = o, o
			asked[fw] = append(asked[fw], mesos.InverseOffer{
				OfferID:        mesos.OfferID{Value: o.id},
				URL:            a.url(),
				FrameworkID:    *fw.info.ID,
				AgentID:        &mesos.AgentID{Value: a.id},
				Unavailability: *unavailability,
			})
		}
	}
	for _, id := range sortedKeys(m.frameworks) {
		fw := m.frameworks[id]
		if list := asked[fw]; len(list) > 0 {
			m.send(fw, &scheduler.Event{Type: scheduler.Event_INVERSE_OFFERS, InverseOffers: &scheduler.Event_InverseOffers{InverseOffers: list}})
		}
	}
}

// uses says whether a framework has anything on an agent, be it an offer.
func uses(fw *framework, a *agent) bool {
	return len(a.tasks[fw.id]) > 0 || len(a.executors[fw.id]) > 0 ||
		slices.ContainsFunc(slices.Collect(maps.Values(a.offers)), func(o *offer) bool { return o.fw == fw })
}

func (m *Master) removeInverseOffer(o *inverseOffer) {
	delete(m.inverse, o.id)
	delete(o.fw.inverse, o.id)
}

func (m *Master) rescindInverse(o *inverseOffer) {
	m.send(o.fw, &scheduler.Event{
		Type:                scheduler.Event_RESCIND_INVERSE_OFFER,
		RescindInverseOffer: &scheduler.Event_RescindInverseOffer{InverseOfferID: mesos.OfferID{Value: o.id}},
	})
	m.removeInverseOffer(o)
}

// answerInverse notes the answer to inverse offers; the question comes again after
// the time of the filter, whatever the answer was.
func (m *Master) answerInverse(fw *framework, ids []mesos.OfferID, accepted bool, f *mesos.Filters) {
	for _, id := range ids {
		o := fw.inverse[id.Value]
		if o == nil {
			continue
		}
		m.removeInverseOffer(o)
		status := allocator.InverseOfferStatus_DECLINE
		if accepted {
			status = allocator.InverseOfferStatus_ACCEPT
		}
		o.agent.leaving = slices.DeleteFunc(o.agent.leaving, func(l leave) bool { return l.framework == fw.id })
		o.agent.leaving = append(o.agent.leaving, leave{fw.id, allocator.InverseOfferStatus{
			Status:      &status,
			FrameworkID: *fw.info.ID,
			Timestamp:   mesos.TimeInfo{Nanoseconds: m.now().UnixNano()},
		}})
		if d := refusal(f); d > 0 {
			fw.quiet[o.agent.id] = true
			m.after(d, func() { delete(fw.quiet, o.agent.id) })
		}
	}
}

// maintenanceStatus is what /maintenance/status shows.
func (m *Master) maintenanceStatus() maintenance.ClusterStatus {
	var status maintenance.ClusterStatus
	for _, window := range m.cfg.Registry.maintenance().Windows {
		for _, machine := range window.MachineIDs {
			if m.cfg.Registry.isDown(machine) {
				status.DownMachines = append(status.DownMachines, machine)
				continue
			}
			draining := maintenance.ClusterStatus_DrainingMachine{ID: machine}
			for _, id := range sortedKeys(m.agents) {
				a := m.agents[id]
				if !isMachine(machine, a) {
					continue
				}
				for _, l := range a.leaving {
					draining.Statuses = append(draining.Statuses, l.status)
				}
			}
			status.DrainingMachines = append(status.DrainingMachines, draining)
		}
	}
	return status
}

// machineDown is why agents on a machine that is out of service are shut down.
const machineDown = "Operator initiated 'Machine DOWN'"

// machinesDown takes machines out of service: their agents are shut down.
func (m *Master) machinesDown(machines []mesos.MachineID) {
	m.cfg.Registry.setDown(machines, true)
	for _, id := range sortedKeys(m.agents) {
		a := m.agents[id]
		if !slices.ContainsFunc(machines, func(machine mesos.MachineID) bool { return isMachine(machine, a) }) {
			continue
		}
		m.removeAgent(a, removal{
			state: mesos.TASK_LOST, reason: mesos.REASON_AGENT_REMOVED,
			message: "Agent " + a.info.Hostname + " removed: " + machineDown, always: true,
			beforehand: func() { a.link.Shutdown(machineDown) },
		})
		m.cfg.Registry.remove(a.id)
	}
}

// machinesUp gives machines back, and takes them out of the schedule.
func (m *Master) machinesUp(machines []mesos.MachineID) {
	m.cfg.Registry.setDown(machines, false)
	schedule := m.cfg.Registry.maintenance()
	var windows []maintenance.Window
	for _, window := range schedule.Windows {
		window.MachineIDs = slices.DeleteFunc(slices.Clone(window.MachineIDs), func(id mesos.MachineID) bool {
			return slices.ContainsFunc(machines, func(up mesos.MachineID) bool { return up.Equal(&id) })
		})
		if len(window.MachineIDs) > 0 {
			windows = append(windows, window)
		}
	}
	m.setSchedule(maintenance.Schedule{Windows: windows})
}

func sortMachines(list []mesos.MachineID) {
	slices.SortFunc(list, func(a, b mesos.MachineID) int {
		return cmp.Or(cmp.Compare(a.GetHostname(), b.GetHostname()), cmp.Compare(a.GetIP(), b.GetIP()))
	})
}
