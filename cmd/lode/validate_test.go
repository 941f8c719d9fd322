package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lode/pool/node"
)

// fakeNode is a node of the network with this first block.
func fakeNode(t *testing.T, genesis string) *node.Node {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			Method string `json:"method"`
			ID     any    `json:"id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		reply := map[string]any{"id": call.ID, "result": nil}
		switch call.Method {
		case "getblockhash":
			reply["result"] = genesis
		case "getnetworkinfo":
			reply["result"] = map[string]any{"subversion": "/Satoshi:29.0.0/"}
		}
		_ = json.NewEncoder(w).Encode(reply)
	}))
	t.Cleanup(server.Close)
	n, err := node.New(node.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestPayoutAddressMustBeOfTheNodesNetwork(t *testing.T) {
	const (
		mainGenesis    = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
		regtestGenesis = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
		mainAddress    = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
		regtestAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	gone, err := node.New(node.Options{URL: dead.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		nodes   []*node.Node
		address string
		want    string // part of the error; "": none
	}{
		{"right", []*node.Node{fakeNode(t, mainGenesis)}, mainAddress, ""},
		{"right on a test network", []*node.Node{fakeNode(t, regtestGenesis)}, regtestAddress, ""},
		{"of another network", []*node.Node{fakeNode(t, regtestGenesis)}, mainAddress, "regtest"},
		{"a node that does not answer", []*node.Node{gone}, mainAddress, ""},
		{"behind one that does not answer", []*node.Node{gone, fakeNode(t, regtestGenesis)}, mainAddress, "regtest"},
		{"two networks", []*node.Node{fakeNode(t, mainGenesis), fakeNode(t, regtestGenesis)}, mainAddress, "different networks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := checkNetwork(t.Context(), test.nodes, test.address)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			var usage *usageError
			if err != nil && !errors.As(err, &usage) {
				t.Errorf("%v is no mistake of the configuration", err)
			}
		})
	}
}
