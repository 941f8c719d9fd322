package freeport

import (
	"fmt"
	"net"
	"testing"
)

func TestOn(t *testing.T) {
	ports, err := On("127.0.0.1", 50)
	if err != nil || len(ports) != 50 {
		t.Fatalf("%v, %v", ports, err)
	}
	for _, port := range ports { // they differ, or else one cannot be listened at
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port < first || port > last {
			t.Errorf("port %d", port)
		}
	}
	if more, err := On("127.0.0.1", 50); err != nil || len(more) != 50 {
		t.Errorf("beside these: %v, %v", more, err)
	}
	if none, err := On("192.0.2.1", 1); err == nil {
		t.Errorf("on an address of another machine: %v", none)
	}
}
