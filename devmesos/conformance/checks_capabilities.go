package conformance

// capabilityChecks are about agents that a framework sees only if it says that it can
// make something of them.
func capabilityChecks() []Check {
	// seenOnlyWith checks that an agent is offered with a capability, and not without
	// it, in whatever role.
	seenOnlyWith := func(c *C, capability, agent string) {
		of := func(e Event) bool {
			for _, o := range items(e.Doc, "offers.offers") {
				if text(o, "agent_id.value") == agent {
					return true
				}
			}
			return false
		}
		able := c.Framework(Spec{Caps: []string{capability}})
		able.decline(0, text(able.Offer(0, 0, agent), "id.value"))
		for _, spec := range []Spec{{WantOffers: true}, {WantOffers: true, Roles: []string{"conformance-a", "conformance-b"}}} {
			c.Framework(spec).Quiet("offer of an agent that needs "+capability, of)
		}
	}
	return []Check{
		{Name: "capabilities/agents with GPUs only with GPU_RESOURCES", Doc: "§2.6, §12", Run: func(c *C) {
			if text(c.masterFlags, "filter_gpu_resources") == "false" {
				c.Skip("the master has --filter_gpu_resources=false")
			}
			for _, s := range items(c.get("/slaves"), "slaves") {
				if number(s, "resources.gpus") >= 1 {
					seenOnlyWith(c, "GPU_RESOURCES", text(s, "id"))
					return
				}
			}
			c.Skip("no agent has GPUs")
		}},
		{Name: "capabilities/GPUs can be left to others", Doc: "§2.6, §9, §12", Run: func(c *C) {
			for _, s := range items(c.get("/slaves"), "slaves") {
				if number(s, "resources.gpus") < 1 {
					continue
				}
				f := c.Framework(Spec{Caps: []string{"GPU_RESOURCES", "PARTITION_AWARE"}, FailoverTimeout: 30})
				p, ids := f.Run(Prepared{Agent: text(s, "id")})
				f.reconcile([2]string{ids[0], ""})
				f.reconciled(ids[0], "TASK_RUNNING", latest, p.agent)
				return
			}
			c.Skip("no agent has GPUs")
		}},
		{Name: "capabilities/agents of other regions only with REGION_AWARE", Doc: "§2.6", Run: func(c *C) {
			f := c.newFramework(Spec{})
			sub := f.Subscribe()
			here := text(sub.Doc, "subscribed.master_info.domain.fault_domain.region.name")
			for _, s := range items(c.get("/slaves"), "slaves") {
				if there := text(s, "domain.fault_domain.region.name"); there != "" && there != here {
					seenOnlyWith(c, "REGION_AWARE", text(s, "id"))
					return
				}
			}
			c.Skip("no agent is in another region than the master")
		}},
		{Name: "capabilities/what is reserved is offered to its role only", Doc: "§3, §9", Run: func(c *C) {
			for _, s := range items(c.get("/slaves"), "slaves") {
				reserved, _ := at(s, "reserved_resources").(Doc)
				for role := range reserved {
					f := c.Framework(Spec{Roles: []string{role, "conformance-z"}, WantOffers: true})
					own := func(o Doc) bool {
						for _, r := range items(o, "resources") {
							if text(r, "role") == role {
								return true
							}
						}
						return false
					}
					f.Event("offer of what is reserved", func(e Event) bool {
						found := false
						for _, o := range items(e.Doc, "offers.offers") {
							o, _ := o.(Doc)
							mine := text(o, "allocation_info.role") == role
							if own(o) && !mine {
								c.Errorf("resources that are reserved for %s are offered to %s", role, text(o, "allocation_info.role"))
							}
							found = found || own(o) && mine && text(o, "agent_id.value") == text(s, "id")
						}
						return found
					})
					return
				}
			}
			c.Skip("no agent has reserved resources")
		}},
		{Name: "capabilities/offers say where an agent is", Doc: "§2.9", Run: func(c *C) {
			for _, s := range items(c.get("/slaves"), "slaves") {
				region := text(s, "domain.fault_domain.region.name")
				if region == "" {
					continue
				}
				f := c.Framework(Spec{Caps: []string{"REGION_AWARE", "GPU_RESOURCES"}})
				o := f.Offer(0, 0, text(s, "id"))
				equal(c, "region", text(o, "domain.fault_domain.region.name"), region)
				equal(c, "zone", text(o, "domain.fault_domain.zone.name"), text(s, "domain.fault_domain.zone.name"))
				f.decline(0, text(o, "id.value"))
				return
			}
			c.Skip("no agent has a domain (--domain)")
		}},
	}
}
