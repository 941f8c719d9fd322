package apidoc

import (
	"strings"
	"testing"
	"time"
)

type inner struct {
	Height int64 `json:"height"` // of the block; 0: unknown
}

// document is what the tests describe.
type document struct {
	Rate float64 `json:"rate"` // H/s, a|b
	// Since is when
	// it began.
	Since  *time.Time        `json:"since,omitempty"`
	Blocks []inner           `json:"blocks"` // newest first
	By     map[string]uint64 `json:"by"`     // outcome
	Best   inner             `json:"best"`
	Secret int               `json:"-"`
}

type silent struct {
	Rate float64 `json:"rate"`
}

func TestRoutes(t *testing.T) {
	source := Source{Root: "../..", Module: "lode"}
	var got strings.Builder
	err := source.Routes(&got, []Route{
		{Method: "GET", Limited: true, Doc: Doc{Path: "/a", Query: "`n` (1 to 9)", Answer: "A.", Errors: "400 no number", Type: document{}}},
		{Method: "POST", Doc: Doc{Path: "/{$}", Answer: "B.", Who: "operate"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `
| path | parameters | who | answer | errors |
|---|---|---|---|---|
| §GET /a§ | §n§ (1 to 9) | everyone | A. | 400 no number; 429, 503 |
| §POST /§ |  | operate | B. | – |

| §/a§ | kind | meaning |
|---|---|---|
| §rate§ | number | H/s, a\|b |
| §since§ | time, RFC 3339, if any | Since is when it began. |
| §blocks§ | list | newest first |
| §blocks[].height§ | whole number | of the block; 0: unknown |
| §by§ | object | outcome |
| §best.height§ | whole number | of the block; 0: unknown |
`
	if want = strings.ReplaceAll(want, "§", "`"); got.String() != want {
		t.Errorf("got%swant%s", got.String(), want)
	}
	if err := source.Routes(&got, []Route{{Doc: Doc{Path: "/b", Type: silent{}}}}); err == nil {
		t.Error("a field without a comment was taken")
	}
}

func TestReplace(t *testing.T) {
	const page = "a\n<!-- X: make generate writes this. -->\nold\n<!-- End of X. -->\nb\n"
	got, err := Replace(page, "X", "new\n")
	if want := strings.Replace(page, "old\n", "new\n\n", 1); got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if again, _ := Replace(got, "X", "new\n"); again != got {
		t.Errorf("the second time %q", again)
	}
	if _, err := Replace(page, "Y", ""); err == nil {
		t.Error("a page without the marks was taken")
	}
}
