package core

import (
	"math/rand/v2"
	"slices"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"pgregory.net/rapid"
)

func TestMilliUnits(t *testing.T) {
	for in, want := range map[float64]int64{0.1234567: 123, 0.0004: 0, 0.0005: 1, 2.0000001: 2000, 1.1 + 2.2: 3300, 15: 15000} {
		if got := toMilli(in); got != want {
			t.Errorf("toMilli(%v) = %d, want %d", in, got, want)
		}
	}
	if got := fromMilli(2999); got != 2.999 {
		t.Errorf("fromMilli(2999) = %v", got)
	}
}

func reserved(r mesos.Resource, role string) mesos.Resource {
	r.Role = &role
	return r
}

func revocable(r mesos.Resource) mesos.Resource {
	r.Revocable = &mesos.Resource_RevocableInfo{}
	return r
}

func TestFlavours(t *testing.T) {
	refined := scalar("cpus", 1, "")
	dynamic := mesos.Resource_ReservationInfo_DYNAMIC
	refined.Reservations = []mesos.Resource_ReservationInfo{{Type: &dynamic, Role: strp("mining/a")}}
	disk := scalar("cpus", 100, "")
	disk.Disk = &mesos.Resource_DiskInfo{}
	provider := scalar("cpus", 100, "")
	provider.ProviderID = &mesos.ResourceProviderID{Value: "p"}
	resources := []mesos.Resource{
		scalar("cpus", 1.5, ""), revocable(scalar("cpus", 4, "")), reserved(scalar("cpus", 2, ""), "mining"),
		scalar("cpus", 0.5, ""), refined, disk, provider,
	}
	inv := newInventory(resources, true)
	var amounts []int64
	for _, f := range inv.of("cpus") {
		amounts = append(amounts, f.amount)
	}
	// Reserved ones first, what was split is added up, revocable ones last.
	if want := []int64{2000, 1000, 2000, 4000}; !slices.Equal(amounts, want) {
		t.Errorf("amounts %v, want %v", amounts, want)
	}
	if n := len(newInventory(resources, false).of("cpus")); n != 3 {
		t.Errorf("%d kinds without revocable ones, want 3", n)
	}
	taken := inv.of("cpus")[1].take(250)
	if taken.Scalar.Value != 0.25 || len(taken.Reservations) != 1 || taken.AllocationInfo.GetRole() != "mining" {
		t.Errorf("taken: %v", taken)
	}
	if resources[4].Scalar.Value != 1 {
		t.Error("the offer itself was changed")
	}
}

// TestTakenResourcesComeFromTheOffer checks for any offer that what is cut out of it
// was in it, does not mix what is revocable with the rest, and leaves the rest.
func TestTakenResourcesComeFromTheOffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var resources []mesos.Resource
		for range rapid.IntRange(1, 6).Draw(t, "entries") {
			name := rapid.SampledFrom([]string{"cpus", "mem", "ports", "disk"}).Draw(t, "name")
			var r mesos.Resource
			if name == "ports" {
				from := rapid.Uint64Range(1, 65000).Draw(t, "from")
				r = ports(from, min(65535, from+rapid.Uint64Range(0, 5).Draw(t, "more")))
			} else {
				r = scalar(name, float64(rapid.IntRange(0, 9000).Draw(t, "amount"))/1000*map[string]float64{"cpus": 1, "mem": 500, "disk": 1}[name], "")
			}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				r = reserved(r, "mining")
			case 1:
				if name != "ports" {
					r = revocable(r)
				}
			}
			resources = append(resources, r)
		}
		c := testCore(t)
		c.set.HoldBackCPUs = float64(rapid.IntRange(0, 3000).Draw(t, "held")) / 1000
		c.set.Revocable = rapid.Bool().Draw(t, "revocable")
		o := &mesos.Offer{AgentID: mesos.AgentID{Value: "S0"}, Hostname: "h", Resources: resources}
		before := newInventory(resources, true)
		firmBefore := firmCPUs(before)

		inv := newInventory(resources, c.set.Revocable)
		var launches []launch
		if l, _ := c.placeProxy(o, inv, c.slots[0]); l != nil {
			launches = append(launches, *l)
			if l.task.Ports[0] == l.task.Ports[1] {
				t.Fatal("both ports are the same")
			}
		}
		miners, why := c.placeMiners(c.agent("S0", "h"), inv, -1)
		if len(miners) == 0 && why.Code == reasonNone {
			t.Fatal("no miners and no reason")
		}
		launches = append(launches, miners...)
		for _, l := range launches {
			all := slices.Concat(l.resources.task, l.resources.executor)
			if !before.subtract(all) {
				t.Fatalf("%v is not in what is left of the offer", all)
			}
			cpus, revocables := int64(0), make(map[bool]bool)
			for _, r := range all {
				if r.Revocable != nil && (r.Name != "cpus" || !c.set.Revocable || l.task.Kind == KindProxy) {
					t.Fatalf("revocable %s in a %s", r.Name, l.task.Kind)
				}
				if r.Name == "cpus" {
					cpus += toMilli(r.Scalar.Value)
					revocables[r.Revocable != nil] = true
				}
			}
			if cpus != l.task.CPUs {
				t.Fatalf("%d thousandths of cpu, the task says %d", cpus, l.task.CPUs)
			}
			if len(revocables) != 1 || !revocables[l.task.Revocable] {
				t.Fatalf("revocable %v, the cpus are of %v", l.task.Revocable, revocables)
			}
		}
		// What is held back stays, as far as it was there and not needed by the proxy.
		if len(miners) > 0 {
			proxy := int64(0)
			if len(launches) > len(miners) {
				proxy = proxyCPUs
			}
			if left := firmCPUs(before); left < min(toMilli(c.set.HoldBackCPUs), firmBefore-proxy) {
				t.Fatalf("%d thousandths are left, %v cpus are to be held back", left, c.set.HoldBackCPUs)
			}
		}
	})
}

func firmCPUs(inv inventory) (n int64) {
	for _, f := range inv.of("cpus") {
		if !f.revocable {
			n += f.amount
		}
	}
	return n
}

func TestPorts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := make(map[uint64]bool)
	for range 200 {
		inv := newInventory([]mesos.Resource{ports(31000, 31001), reserved(ports(40000, 40000), "mining"), ports(31005, 31005)}, false)
		all := newInventory([]mesos.Resource{ports(31000, 31001), reserved(ports(40000, 40000), "mining"), ports(31005, 31005)}, false)
		got, taken := inv.takePorts(2, rnd)
		if len(got) != 2 || got[0] == got[1] || !all.subtract(taken) {
			t.Fatalf("%v, %v", got, taken)
		}
		left := uint64(0)
		for _, f := range inv.of("ports") {
			left += countPorts(f.ranges)
		}
		if left != 2 {
			t.Fatalf("%d ports are left", left)
		}
		for _, p := range got {
			seen[p] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("ports %v", seen)
	}
	// Ports that are listed twice are there once.
	twice := newInventory([]mesos.Resource{ports(7, 9), ports(3, 8), ports(9, 10)}, false).of("ports")[0].ranges
	if len(twice) != 1 || twice[0] != (mesos.Value_Range{Begin: 3, End: 10}) {
		t.Errorf("ports 7-9, 3-8 and 9-10 are %v", twice)
	}
	// Ranges that make no sense are no ports.
	if got, _ := newInventory([]mesos.Resource{ports(5, 4), ports(0, 1), ports(65535, 70000)}, false).takePorts(2, rnd); got != nil {
		t.Errorf("ports %v", got)
	}
}
