// Package freeport finds ports for programs that have to be told one before they start.
//
// A listener for port 0 gets one of those that the kernel gives to outgoing connections,
// too, so that another program's connection may have it by the time it is used, above
// all on a busy machine. The ports here are below these (32768 on Linux, 49152 elsewhere).
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const first, last = 10_000, 19_999

// On returns n ports of a host at which nobody listens.
func On(host string, n int) ([]int, error) {
	var ports []int
	var why error
	for range last - first + 1 {
		if len(ports) == n {
			return ports, nil
		}
		port := first + rand.IntN(last-first+1)
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			why = err
			continue
		}
		defer l.Close() // all at the end, so that they differ
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("find %d free ports on %s: %w", n, host, why)
}
