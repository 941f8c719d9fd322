package blocks

import "testing"

// A block is safe when one of disk and nodes has it, and stays so.
func TestSafe(t *testing.T) {
	b := &tracked{safe: make(chan struct{})}
	select {
	case <-b.safe:
		t.Fatal("safe before anybody has it")
	default:
	}
	b.secure()
	b.secure() // the disk after a node
	<-b.safe
	k := &Keeper{blocks: map[string]*tracked{"known": b}}
	<-k.Safe("known")
	<-k.Safe("forgotten") // long settled
}
