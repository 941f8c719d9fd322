package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func TestTail(t *testing.T) {
	const name = "/frameworks/F/executors/T/runs/latest/stderr"
	text := "0123456789"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "reader" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/files/read" || r.URL.Query().Get("path") != name {
			http.NotFound(w, r)
			return
		}
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		data := ""
		if offset == -1 {
			offset = len(text)
		} else {
			length, _ := strconv.Atoi(r.URL.Query().Get("length"))
			data = text[offset:min(len(text), offset+length)]
			if len(text) > 1000 {
				data = text
			}
		}
		quoted, _ := json.Marshal(data)
		fmt.Fprintf(w, `{"data":%s,"offset":%d}`, quoted, offset)
	}))
	defer server.Close()
	r := Reader{Client: server.Client(), Principal: "reader", Secret: "secret"}
	for most, want := range map[int]string{4: "6789", 10: text, 1000: text} {
		if got, err := r.Tail(t.Context(), server.URL, Path("F", "T", "stderr"), most); err != nil || string(got) != want {
			t.Errorf("the last %d: %q, %v, want %q", most, got, err, want)
		}
	}
	if _, err := r.Tail(t.Context(), server.URL, Path("F", "U", "stderr"), 4); err == nil {
		t.Error("a file that is not there is read")
	}
	text = strings.Repeat("\x00", 100_000) // and an agent that sends more than it was asked for
	if got, err := r.Tail(t.Context(), server.URL, Path("F", "T", "stderr"), 4); err == nil {
		t.Errorf("%d bytes are taken", len(got))
	}
	r.Principal = ""
	var denied *AccessError
	if _, err := r.Tail(t.Context(), server.URL, Path("F", "T", "stderr"), 4); !errors.As(err, &denied) || denied.Principal != "" {
		t.Errorf("without a principal: %v", err)
	}
}

func TestUnquote(t *testing.T) {
	for _, test := range []struct {
		quoted, want string
		size         int // of the file's part
	}{
		{`""`, "", 0},
		{`null`, "", 0},
		{`"plain"`, "plain", 5},
		{`"a\nb\t\"\\\/\b\f\r"`, "a\nb\t\"\\/\b\f\r", 10},
		{`"\u0007\u001b\u003c"`, "\a\x1b<", 3},
		{"\"half \xe2\x80\"", "half \xe2\x80", 7},
		{`"\ufffd\ufffd"`, "\ufffd\ufffd", 2}, // as encoding/json writes what is no character
		{`"\u2028"`, "\u2028", 3},
		{`"\ud83d\ude00x"`, "😀x", 5},
	} {
		if p, err := unquote([]byte(test.quoted)); err != nil || string(p.Bytes) != test.want || p.Size != test.size {
			t.Errorf("%s: %q of %d bytes, %v, want %q of %d", test.quoted, p.Bytes, p.Size, err, test.want, test.size)
		}
	}
	for _, bad := range []string{"7", "[]", `"`, `"\`, `"\"`, `"\x"`, `"\u12"`, `"\u12zz"`} {
		if p, err := unquote([]byte(bad)); err == nil {
			t.Errorf("%s is read as %q", bad, p.Bytes)
		}
	}
}
