package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestSubmitNeedsNoMemory: the moment of a block is the worst one to run out of memory in. Of
// 4 MB each node gets 8 MB of digits, and many at a time where they hang.
func TestSubmitNeedsNoMemory(t *testing.T) {
	var got [sha256.Size]byte
	n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		got = [sha256.Size]byte(h.Sum(nil))
		_, _ = io.WriteString(w, `{"result":null,"error":null,"id":1}`)
	})
	block := make([]byte, 4_000_001)
	for i := range block {
		block[i] = byte(i * i >> 3)
	}
	want := sha256.Sum256([]byte(`{"jsonrpc":"1.0","id":1,"method":"submitblock","params":["` + hex.EncodeToString(block) + `"]}`))
	cost := allocated(func() {
		if v, _, err := n.Submit(t.Context(), block); err != nil || v != Taken {
			t.Error(v, err)
		}
	})
	if got != want {
		t.Error("it came as something else")
	}
	if cost > 2<<20 {
		t.Errorf("it took %d bytes", cost)
	}
}

// TestSubmitOfAnyLength: what a node gets is the block, however long, also the second time.
func TestSubmitOfAnyLength(t *testing.T) {
	var got []string
	n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Method string
			Params []string
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request.Method != "submitblock" || len(request.Params) != 1 {
			t.Errorf("%v: %+v", err, request)
			return
		}
		if r.ContentLength < 0 {
			t.Error("its length is not told")
		}
		got = append(got, request.Params[0])
		if _, password, _ := r.BasicAuth(); password != "new" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"result":null,"error":null,"id":1}`)
	})
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	n.rpc.credentials = Credentials{User: "u", PasswordFile: file}
	if _, _, err := n.rpc.login(false); err != nil {
		t.Fatal(err)
	}
	write("new")
	for _, size := range []int{0, 1, 80, 16 << 10, 16<<10 + 1, 100_003} {
		block := make([]byte, size)
		for i := range block {
			block[i] = byte(i>>8 + i)
		}
		want := hex.EncodeToString(block)
		got = nil
		if v, _, err := n.Submit(t.Context(), block); err != nil || v != Taken {
			t.Fatal(size, v, err)
		}
		for _, g := range got {
			if g != want {
				t.Errorf("%d bytes came as %.40s… of %d digits", size, g, len(g))
			}
		}
		if first := size == 0; first != (len(got) == 2) {
			t.Errorf("it came %d times", len(got))
		}
	}
}
