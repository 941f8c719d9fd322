// Package conformance checks that something which calls itself an Apache Mesos
// cluster behaves as one: it takes the URL of a master, subscribes frameworks, launches an
// executor of its own and compares what it sees with what Mesos 1.11 is known to do.
//
// What it expects comes from docs/mesos-semantics.md (cited as "§2.1") and from transcripts of
// a real cluster (cited as "R02", kept in testdata where they are replayed), never from what
// one implementation happens to do. It shares no code with devmesos; it has its own wire client.
//
// Call Run with a Target first. Checks lists all checks. The test of this package runs them against
// the embedded devmesos, and against any cluster with
//
//	go test ./devmesos/conformance -run TestCluster -v -master=http://host:5050
//
// A check that needs something the target cannot give (a fault switch, a credential) is skipped
// with the reason. See docs/conformance.md.
package conformance
