package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/devnode"
	"lode/pool/node"
	"lode/pool/template"
)

func startBtcd(t *testing.T, config devnode.Config) *devnode.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	btcd, err := devnode.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = btcd.Stop() })
	return btcd
}

func client(t *testing.T, btcd *devnode.Node) *node.Node {
	t.Helper()
	n, err := node.New(node.Options{
		URL: btcd.URL, CA: btcd.CA,
		Credentials: node.Credentials{User: btcd.User, Password: btcd.Password},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// mine finds a block for the template by trying nonces.
func mine(t *testing.T, tpl *template.Template, script []byte, mark byte) (raw []byte, hash chainhash.Hash) {
	t.Helper()
	w, err := template.New(tpl, template.Options{PayoutScript: script, ExtranonceSize: 12, Tag: []byte("/lode/")})
	if err != nil {
		t.Fatal(err)
	}
	extranonce := make([]byte, 12)
	extranonce[0] = mark
	before, after := w.Coinbase()
	root := chainhash.DoubleHashH(slices.Concat(before, extranonce, after))
	for _, sibling := range w.Branch() {
		root = chainhash.DoubleHashH(append(append([]byte(nil), root[:]...), sibling[:]...))
	}
	var header [80]byte
	binary.LittleEndian.PutUint32(header[0:], tpl.Version)
	copy(header[4:], tpl.PreviousHash[:])
	copy(header[36:], root[:])
	binary.LittleEndian.PutUint32(header[68:], tpl.CurrentTime)
	binary.LittleEndian.PutUint32(header[72:], tpl.Bits)
	for nonce := uint32(0); ; nonce++ {
		binary.LittleEndian.PutUint32(header[76:], nonce)
		first := sha256.Sum256(header[:])
		hash = sha256.Sum256(first[:])
		if hash[31] < 0x7f {
			return w.Solve(header, extranonce), hash
		}
	}
}

func TestBtcd(t *testing.T) {
	btcd := startBtcd(t, devnode.Config{})
	n := client(t, btcd)
	ctx := t.Context()

	id, err := n.Identify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if id.Network.Name != "simnet" || !id.Btcd {
		t.Fatalf("identity %+v, want btcd on simnet", id)
	}
	script, err := id.Network.PayoutScript(devnode.DefaultMiningAddress)
	if err != nil {
		t.Fatal(err)
	}
	templates := make(chan *template.Template, 100)
	watchCtx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		n.Watch(watchCtx, node.Events{
			Template: func(t *template.Template) { templates <- t },
			Lost:     func(err error) { t.Logf("lost: %v", err) },
		})
	}()
	defer func() { stop(); <-watched }()

	var sides []chainhash.Hash
	for height := int64(1); height <= 20; height++ {
		tpl := nextTemplate(t, templates, height)
		raw, hash := mine(t, tpl, script, 1)
		if verdict, reason, err := n.Submit(ctx, raw, ""); err != nil || verdict != node.Taken {
			t.Fatalf("height %d: submit: %v %q %v", height, verdict, reason, err)
		}
		if verdict, reason, err := n.Submit(ctx, raw, ""); err != nil || verdict != node.Known {
			t.Errorf("height %d: submit again: %v %q %v, want known", height, verdict, reason, err)
		}
		h, err := n.Header(ctx, hash)
		if err != nil || h.Confirmations != 1 || h.Height != height || h.Bits != tpl.Bits {
			t.Fatalf("height %d: header %+v %v", height, h, err)
		}
		if height%5 == 0 { // a rival on the same parent
			rival, rivalHash := mine(t, tpl, script, 2)
			if verdict, reason, err := n.Submit(ctx, rival, ""); err != nil || verdict != node.Taken {
				t.Fatalf("rival: %v %q %v", verdict, reason, err)
			}
			sides = append(sides, rivalHash)
		}
	}
	for _, hash := range sides {
		if h, err := n.Header(ctx, hash); err != nil || h.Confirmations > 0 {
			t.Errorf("side block %v: %+v %v, want no confirmations", hash, h, err)
		}
	}
	if _, err := n.Header(ctx, chainhash.Hash{1}); !errors.Is(err, node.ErrUnknownBlock) {
		t.Errorf("unknown block: %v", err)
	}

	// The template must be refused where it is broken, with the reason kept.
	tpl := *nextTemplate(t, templates, 21) // the watcher keeps its own
	tpl.CoinbaseValue++
	raw, _ := mine(t, &tpl, script, 1)
	if verdict, reason, err := n.Submit(ctx, raw, ""); err != nil || verdict != node.Invalid || reason == "" {
		t.Errorf("coinbase pays too much: %v %q %v, want invalid", verdict, reason, err)
	}
	if reason, err := n.Propose(ctx, raw); err != nil || reason == "" {
		t.Errorf("proposal that pays too much: %q %v, want a reason", reason, err)
	}
	if _, err := btcd.Generate(ctx, 1); err != nil {
		t.Fatal(err)
	}
	nextTemplate(t, templates, 22)
}

func nextTemplate(t *testing.T, templates chan *template.Template, height int64) *template.Template {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case tpl := <-templates:
			if tpl.Height == height {
				return tpl
			}
			if tpl.Height > height {
				t.Fatalf("template for height %d, want %d", tpl.Height, height)
			}
		case <-timeout:
			t.Fatalf("no template for height %d", height)
		}
	}
}
