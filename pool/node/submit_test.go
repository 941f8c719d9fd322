package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
		if v, _, err := n.Submit(t.Context(), block, ""); err != nil || v != Taken {
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
	for _, size := range []int{0, 1, 80, largeBlock - 1, largeBlock, 100_003} {
		block := make([]byte, size)
		for i := range block {
			block[i] = byte(i>>8 + i)
		}
		want := hex.EncodeToString(block)
		got = nil
		if v, _, err := n.Submit(t.Context(), block, ""); err != nil || v != Taken {
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

// TestSubmitWithID: the id of the work goes along, whatever it is and however long the block is.
func TestSubmitWithID(t *testing.T) {
	var got string
	n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if int64(len(body)) != r.ContentLength {
			t.Errorf("%d bytes, and %d were said to come", len(body), r.ContentLength)
		}
		got = string(body)
		_, _ = io.WriteString(w, `{"result":null,"error":null,"id":1}`)
	})
	for _, id := range []string{`"7"`, `7`, `{"params":["",""]}`} {
		for _, size := range []int{80, largeBlock + 1} {
			block := bytes.Repeat([]byte{0xab}, size)
			if v, _, err := n.Submit(t.Context(), block, id); err != nil || v != Taken {
				t.Fatal(v, err)
			}
			if want := `"method":"submitblock","params":["` + hex.EncodeToString(block) + `",{"workid":` + id + `}]}`; !strings.HasSuffix(got, want) {
				t.Errorf("%d bytes, %s: %.80s…%s", size, id, got, got[len(got)-40:])
			}
		}
	}
}

// TestSmallBlockComesInOnePiece: who answers before the end, and hangs up, is heard.
func TestSmallBlockComesInOnePiece(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			first := make([]byte, 4096)
			n, _ := conn.Read(first)
			if !strings.Contains(string(first[:n]), "abababab") {
				t.Error("the first piece is without the block")
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n"+`{"result":null}`)
			_ = conn.Close()
		}
	}()
	n, err := New(Options{URL: "http://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if v, _, err := n.Submit(t.Context(), bytes.Repeat([]byte{0xab}, 300), ""); err != nil || v != Taken {
			t.Fatal(v, err)
		}
	}
}

// TestSubmitReplies: what others than Bitcoin Core say to a block, in whatever form.
func TestSubmitReplies(t *testing.T) {
	for reply, want := range map[string]Verdict{
		`null`: Taken, `""`: Taken, `true`: Taken, `"accepted"`: Taken, `"OK"`: Taken, `[null]`: Taken, `{"accepted":true}`: Taken, `{"status":"accepted"}`: Taken,
		`"duplicate"`: Known, `["duplicate"]`: Known, `"Duplicate block"`: Known, `"Already have block"`: Known, `"block already exists"`: Known, `{"reason":"duplicate"}`: Known,
		`"inconclusive"`: Side, `"duplicate-inconclusive"`: Side, `"stale-prevblk"`: Side, `"stale-work"`: Side, `{"accepted":false,"reason":"stale-prevblk"}`: Side,
		`false`: Later, `{}`: Later, `[]`: Later, `7`: Later, `"rejected"`: Later, `"unknown-work"`: Later, `"unknown-user"`: Later, `"time-too-new"`: Later, `"prev-blk-not-found"`: Later,
		`{"accepted":false}`: Later, `"please try again"`: Later, `{"x":["y"]}`: Later, `"not accepted"`: Later, `"inputs already spent"`: Later,
		`"bad-cb-flag"`: Invalid, `"bad-cb-length"`: Invalid, `"bad-cb-prefix"`: Invalid, `"bad-diffbits"`: Invalid, `"bad-prevblk"`: Invalid, `"bad-txnmrklroot"`: Invalid,
		`"bad-txns"`: Invalid, `"bad-version"`: Invalid, `"high-hash"`: Invalid, `"time-invalid"`: Invalid, `"time-too-old"`: Invalid, `"duplicate-invalid"`: Invalid,
		`{"status":"rejected","reject-reason":"bad-txns"}`: Invalid,
	} {
		n, _ := nodeAt(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"result":`+reply+`,"error":null,"id":1}`)
		})
		if v, reason, err := n.Submit(t.Context(), []byte{1}, ""); v != want || err != nil && want != Later {
			t.Errorf("%s: %v %q, %v; want %v", reply, v, reason, err, want)
		}
	}
}
