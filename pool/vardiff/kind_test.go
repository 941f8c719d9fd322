package vardiff

import "testing"

// TestKindOf: devices are known by what they call themselves, in whatever words around it.
func TestKindOf(t *testing.T) {
	for agent, want := range map[string]Kind{
		"bmminer/2.0.0/Antminer S19j Pro/16384": {Start: 16384, Least: 64},
		"LUXminer/2025.1.7.0":                   {Start: 16384, Least: 64},
		"vnish/1.2.6":                           {Start: 16384, Least: 64},
		"bosminer-plus-tuner 0.2.0-36c56a9363":  {Start: 16384, Least: 64},
		"NiceHash/1.0.0":                        {Start: 524288, Least: 500000},
		"cgminer/4.12.1":                        {Start: 1024, Least: 1},
		"bitaxe/BM1370/v2.9.0":                  {Start: 512, Least: 1},
		"NerdQAxe++/BM1370/v1.0.30":             {Start: 512, Least: 1},
		"NerdMinerV2/V1.8.3":                    {Start: 0.0002},
		"NMMiner/v0.3.01":                       {Start: 0.0002},
		"cpuminer-opt-26.1-x64L":                {Start: 0.001},
		"":                                      {Start: UnknownStart},
		"me":                                    {Start: UnknownStart},
	} {
		got := KindOf(agent)
		if got.mark = ""; got != want {
			t.Errorf("%q: %+v, want %+v", agent, got, want)
		}
	}
}
