package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What strangers do a thousand times is not a thousand lines.
func TestProxyLogIsBounded(t *testing.T) {
	var b bytes.Buffer
	log := boundLog(slog.New(slog.NewTextHandler(&b, nil)))
	for i := range 1000 {
		log.Info("worker refused", "worker", i)
	}
	log.Info("node found")
	if n := strings.Count(b.String(), "\n"); n > 60 || !strings.Contains(b.String(), "node found") {
		t.Errorf("%d lines", n)
	}
}
