package template

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// reference reads a reply by means of encoding/json alone.
func reference(data []byte) (*Template, error) {
	members, err := object(data)
	if err != nil {
		return nil, err
	}
	r := reply{
		version: members["version"], previous: members["previousblockhash"], value: members["coinbasevalue"],
		coinbaseTxn: members["coinbasetxn"], aux: members["coinbaseaux"], bits: members["bits"], height: members["height"],
		rules: members["rules"], required: members["vbrequired"], currentTime: members["curtime"],
		minTime: members["mintime"], maxTime: members["maxtime"], longPollID: members["longpollid"],
		workID: members["workid"], mutable: members["mutable"], submitOld: members["submitold"], commitment: members["default_witness_commitment"],
		algorithm: members["pow_algo"], expires: members["expires"],
	}
	var list []json.RawMessage
	raw := members["transactions"]
	if r.listed = raw != nil && string(raw) != "null"; r.listed {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
	}
	for _, raw := range list {
		tx, fee, err := referenceTx(raw)
		if err != nil {
			return nil, err
		}
		if r.fees += fee; fee < 0 || fee > maxValue || r.fees > maxValue {
			return nil, errors.New("fee")
		}
		r.list = append(r.list, tx)
	}
	return r.make()
}

// object reads members; the last of a name counts.
func object(data []byte) (members map[string]json.RawMessage, err error) {
	if err = json.Unmarshal(data, &members); err == nil && members == nil {
		err = errors.New("not an object")
	}
	return members, err
}

func referenceTx(raw []byte) (tx Transaction, fee int64, err error) {
	members, err := object(raw)
	if err != nil {
		return tx, 0, err
	}
	var text [3]string
	for i, name := range []string{"data", "txid", "hash"} {
		if value := members[name]; value != nil {
			if err := json.Unmarshal(value, &text[i]); err != nil {
				return tx, 0, err
			}
		}
		if _, err := hex.DecodeString(text[i]); err != nil {
			return tx, 0, err
		}
	}
	data, txid, hash := text[0], text[1], text[2]
	if txid == "" {
		txid, hash = hash, ""
		if len(data) >= 20 && data[8:12] == "0001" {
			return tx, 0, errors.New("witness without txid")
		}
	}
	if len(data) < 20 || len(txid) != 64 || hash != "" && len(hash) != 64 {
		return tx, 0, errors.New("length")
	}
	if value := members["fee"]; value != nil {
		var ok bool
		if fee, ok = whole(value); !ok && string(value) != "null" {
			return tx, 0, errors.New("fee")
		}
	}
	tx.data = []byte(data)
	if hash != "" {
		tx.wtxid = []byte(hash)
	}
	return tx, fee, chainhash.Decode(&tx.TxID, txid)
}

// compare holds Parse and ParseReply against the reference.
func compare(t *testing.T, data []byte) {
	t.Helper()
	got, err := Parse(data)
	if ahead, aheadErr := parse(data, 0); fmt.Sprint(aheadErr) != fmt.Sprint(err) || !reflect.DeepEqual(ahead, got) {
		t.Fatalf("%.300q: %+v, %v\nin two halves: %+v, %v", data, got, err, ahead, aheadErr)
	}
	if err != nil && strings.Contains(err.Error(), "nested too deeply") {
		return
	}
	want, wantErr := reference(data)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%.300q: %v, encoding/json: %v", data, err, wantErr)
	}
	normal(got)
	normal(want)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%.300q:\n%+v\nencoding/json:\n%+v", data, got, want)
	}
	if !json.Valid(data) {
		return
	}
	for _, form := range []string{`{"result":%s,"error":null,"id":1}`, `{"jsonrpc":"1.0", "id" : 7 , "result" : %s }`} {
		again, err := ParseReply(fmt.Appendf(nil, form, data))
		if err != nil && strings.Contains(err.Error(), "nested too deeply") {
			continue
		}
		normal(again)
		isObject := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
		if (err == nil) != (wantErr == nil) && isObject || !reflect.DeepEqual(again, want) {
			t.Fatalf("in a reply, %.300q: %+v, %v", data, again, err)
		}
	}
}

// normal makes empty lists alike.
func normal(t *Template) {
	if t != nil && len(t.Transactions) == 0 {
		t.Transactions = nil
	}
}

func recordings(t testing.TB) (list [][]byte) {
	t.Helper()
	for _, name := range []string{"core.jsonl", "rt-gbt-h0.json", "sn-gbt-h0.json", "sn-gbt-h300.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		records := [][]byte{data}
		if strings.HasSuffix(name, "l") {
			records = bytes.Split(bytes.TrimSpace(data), []byte("\n"))
		}
		for _, record := range records {
			var r struct{ Result json.RawMessage }
			if err := json.Unmarshal(record, &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			list = append(list, r.Result)
		}
	}
	return list
}

const smallReply = `{"version":536870912,"previousblockhash":"%064d","transactions":[` +
	`{"data":"02000000000101%040d","txid":"%064d","hash":"%064d","depends":[1],"fee":7,"sigops":1,"weight":4},` +
	`{"data":"0200000000%040d","hash":"%064d"}],` +
	`"coinbasevalue":5000000000,"bits":"207fffff","height":9,"curtime":1795398993,"mintime":1,"submitold":false,` +
	`"coinbaseaux":{"flags":"00"},"rules":["csv","!segwit"],"vbavailable":{},"vbrequired":0,"longpollid":"a\u0062c"}`

func small() []byte { return fmt.Appendf(nil, smallReply, 1, 2, 3, 4, 5, 6) }

func TestParseLikeEncodingJSON(t *testing.T) {
	replies := append(recordings(t), small())
	for _, data := range replies {
		if _, err := Parse(data); err != nil {
			t.Fatalf("%.100q: %v", data, err)
		}
		compare(t, data)
		var indented bytes.Buffer
		if err := json.Indent(&indented, data, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		compare(t, indented.Bytes())
	}
	data := string(small())
	for name, change := range map[string]string{
		"name escaped":           strings.Replace(data, `"height"`, `"h\u0065ight"`, 1),
		"name in capitals":       strings.Replace(data, `"height"`, `"Height"`, 1),
		"height twice":           strings.Replace(data, `{`, `{"height":"x",`, 1),
		"height twice, bad last": strings.Replace(data, `"mintime"`, `"height":"x","mintime"`, 1),
		"transactions twice":     strings.Replace(data, `"mintime"`, `"transactions":[],"mintime"`, 1),
		"transactions null last": strings.Replace(data, `"mintime"`, `"transactions":null,"mintime"`, 1),
		"bad transactions first": strings.Replace(data, `{`, `{"transactions":[{}],`, 1),
		"txid twice":             strings.Replace(data, `"txid"`, `"txid":"zz","txid"`, 1),
		"txid null":              strings.Replace(data, `"txid"`, `"txid":null,"id"`, 1),
		"fee twice":              strings.Replace(data, `"fee":7`, `"fee":"a","fee":8`, 1),
		"fee null":               strings.Replace(data, `"fee":7`, `"fee":null`, 1),
		"fee float":              strings.Replace(data, `"fee":7`, `"fee":7.0`, 1),
		"fee exponent":           strings.Replace(data, `"fee":7`, `"fee":7e0`, 1),
		"height float":           strings.Replace(data, `"height":9`, `"height":9.0`, 1),
		"height exponent":        strings.Replace(data, `"height":9`, `"height":9e1`, 1),
		"height text":            strings.Replace(data, `"height":9`, `"height":"9"`, 1),
		"height leading zero":    strings.Replace(data, `"height":9`, `"height":09`, 1),
		"height minus zero":      strings.Replace(data, `"mintime":1`, `"mintime":-0`, 1),
		"curtime of 20 digits":   strings.Replace(data, `"curtime":1`, `"curtime":10000000000`, 1),
		"data escaped":           strings.Replace(data, `"data":"0`, `"data":"\u0030`, 1),
		"data in capitals":       strings.Replace(data, `"data":"02`, `"data":"aB`, 1),
		"data not hex":           strings.Replace(data, `"data":"02`, `"data":"0g`, 1),
		"data beyond ASCII":      strings.Replace(data, `"data":"02`, "\"data\":\"\xb0\xb2", 1),
		"data null":              strings.Replace(data, `"data":"02`, `"data":null,"x":"02`, 1),
		"control character":      strings.Replace(data, `"data":"02`, "\"data\":\"0\n", 1),
		"unknown members":        strings.Replace(data, `{`, `{"x":{"transactions":[1,{"a":[]}]},"y":[[[]]],`, 1),
		"aux of a number":        strings.Replace(data, `"flags":"00"`, `"flags":0`, 1),
		"aux null":               strings.Replace(data, `{"flags":"00"}`, `null`, 1),
		"submitold null":         strings.Replace(data, `"submitold":false`, `"submitold":null`, 1),
		"mutable":                strings.Replace(data, `"vbrequired"`, `"mutable":["transactions"],"vbrequired"`, 1),
		"mutable, nothing":       strings.Replace(data, `"vbrequired"`, `"mutable":[],"vbrequired"`, 1),
		"mutable a text":         strings.Replace(data, `"vbrequired"`, `"mutable":"time","vbrequired"`, 1),
		"witness without txid":   strings.Replace(data, `"txid"`, `"no"`, 1),
		"witness without hash":   strings.Replace(data, `"hash"`, `"no"`, 1),
		"maxtime in the past":    strings.Replace(data, `"mintime"`, `"maxtime":1795398992,"mintime"`, 1),
		"required bits":          strings.Replace(data, `"vbrequired":0`, `"vbrequired":4194304`, 1),
		"two values":             data + "{}",
		"white space after":      data + " \r\n",
		"byte after":             data + "x",
		"array":                  "[" + data + "]",
		"null":                   "null",
		"nothing":                "",
	} {
		t.Run(name, func(t *testing.T) { compare(t, []byte(change)) })
	}
	for i := range data {
		compare(t, []byte(data[:i]))
	}
	if t1, err := Parse(small()); err != nil || string(t1.LongPollID) != `"a\u0062c"` || !t1.Stale || t1.Transactions[0].TxID[0] != 3 {
		t.Errorf("%+v, %v", t1, err)
	}
}

// TestHalves are lists where the guess, where their second half begins, is wrong or of
// no use.
func TestHalves(t *testing.T) {
	tx := func(i int) string { return fmt.Sprintf(`{"data":"0200000000%040d","hash":"%064d","fee":%d}`, i, i, i) }
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, tx(i))
		}
		return strings.Join(all, ",")
	}
	form := strings.Replace(string(small()), `"transactions":[`, `"transactions":[%s,`, 1)
	for name, transactions := range map[string]string{
		"good":                      list(40),
		"boundary in a text":        list(10) + `,{"data":"0200000000` + strings.Repeat("0", 40) + `","hash":"` + strings.Repeat("1", 64) + `","x":"` + strings.Repeat("},{", 2000) + `"},` + list(3),
		"boundary in a list":        list(10) + `,{"data":"0200000000` + strings.Repeat("0", 40) + `","hash":"` + strings.Repeat("1", 64) + `","x":[{}` + strings.Repeat(",{}", 2000) + `]},` + list(3),
		"elements of another kind":  list(30) + strings.Repeat(`,{}`, 100),
		"first is faulty":           `{},` + list(30),
		"last is faulty":            list(30) + `,7`,
		"both are faulty":           `7,` + list(30) + `,8`,
		"fees too great together":   list(10) + strings.ReplaceAll(","+list(30), `"fee":`, `"fee":10000000000000`),
		"fees too great in one":     list(30) + strings.Replace(","+tx(1), `"fee":1`, `"fee":2100000000000001`, 1),
		"fees beyond the value":     strings.ReplaceAll(list(30), `"fee":`, `"fee":9000`),
		"no JSON in the second":     list(30) + `,{"data":"0},` + list(2),
		"not closed in the first":   `{"x":[` + list(30),
		"spaces in the second half": list(20) + " , \t" + list(20) + " ",
	} {
		t.Run(name, func(t *testing.T) { compare(t, []byte(strings.Replace(form, "%s", transactions, 1))) })
	}
	data := strings.Replace(form, "%s", list(12), 1)
	for i := range data {
		compare(t, []byte(data[:i]))
	}
}

// TestParseReplyOfOtherKinds: these are for readers of errors.
func TestParseReplyOfOtherKinds(t *testing.T) {
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `"x"`, `{"result":null,"error":{"code":-9,"message":"not connected"},"id":1}`,
		`{"result":"text","error":null}`, `{"result":null}`, `Work queue depth exceeded`, `{"result":{}`, `{"result":{},"error":"no"}`,
		`{"result":{},"result":null}`, `{"result":{}}}`,
	} {
		if tpl, err := ParseReply([]byte(body)); tpl != nil || err != nil {
			t.Errorf("%s: %v, %v", body, tpl, err)
		}
	}
	if tpl, err := ParseReply([]byte(`{"result":{},"error":null}`)); tpl != nil || err == nil {
		t.Errorf("an empty template: %v, %v", tpl, err)
	}
}

// TestMutable: what a node does not list must not be changed.
func TestMutable(t *testing.T) {
	const now = 1795398993
	for mutable, want := range map[string][3]uint32{ // fixed, least, most
		`["time","transactions","prevblock"]`: {0, 1, 0}, `["transactions"]`: {1, 1, 0}, `[]`: {1, 1, 0}, `null`: {0, 1, 0},
		`["time/increment"]`: {0, now, 0}, `["time/decrement"]`: {0, 1, now},
		`["time/increment","time/decrement"]`: {0, 1, 0}, `["time/increment","time"]`: {0, 1, 0},
	} {
		data := strings.Replace(string(small()), `"vbrequired"`, `"mutable":`+mutable+`,"vbrequired"`, 1)
		tpl, err := Parse([]byte(data))
		if err != nil || tpl.FixedTime != (want[0] == 1) || tpl.MinTime != want[1] || tpl.MaxTime != want[2] {
			t.Errorf("%s: %+v, %v", mutable, tpl, err)
		}
	}
	// What bounds it already stays a bound.
	data := strings.Replace(string(small()), `"mintime":1`, `"mintime":1795399000,"maxtime":1795399500,"mutable":["time/decrement"]`, 1)
	if tpl, err := Parse([]byte(data)); err != nil || tpl.MinTime != 1795399000 || tpl.MaxTime != 1795399000 {
		t.Errorf("%+v, %v", tpl, err)
	}
}

// TestForms: members as others than Bitcoin Core write them, who mean the same.
func TestForms(t *testing.T) {
	plain, err := Parse(small())
	if err != nil {
		t.Fatal(err)
	}
	forms := [][2]string{
		{`"height":9`, `"height":"9"`},
		{`"height":9`, `"height":9.0`},
		{`"height":9`, `"height":0.9e1`},
		{`"coinbasevalue":5000000000`, `"coinbasevalue":5e+09`},
		{`"coinbasevalue":5000000000`, `"coinbasevalue":" 5000000000 "`},
		{`"version":536870912`, `"version":536870912.0`},
		{`"curtime":1795398993`, `"curtime":1795398993.0`},
		{`"fee":7`, `"fee":"7"`},
		{`"fee":7`, `"fee":7.0`},
		{`"bits":"207fffff"`, `"bits":"0x207fffff"`},
		{`"bits":"207fffff"`, `"bits":"207FFFFF"`},
		{`"bits":"207fffff"`, `"bits":545259519`},
		{`"vbrequired":0`, `"vbrequired":null`},
		{`"vbrequired":0`, `"expires":"soon"`},
		{`"vbrequired":0`, `"expires":-1`},
		{`"vbrequired":0`, `"expires":1e400`},
	}
	for _, form := range forms {
		data := strings.Replace(string(small()), form[0], form[1], 1)
		if data == string(small()) {
			t.Fatal(form)
		}
		tpl, err := Parse([]byte(data))
		if err != nil {
			t.Errorf("%s: %v", form[1], err)
			continue
		}
		if !reflect.DeepEqual(tpl, plain) {
			t.Errorf("%s: %+v, want %+v", form[1], tpl, plain)
		}
		compare(t, []byte(data))
	}
	for _, wrong := range [][2]string{
		{`"height":9`, `"height":9.5`},
		{`"height":9`, `"height":"9.5"`},
		{`"height":9`, `"height":"0x9"`},
		{`"height":9`, `"height":""`},
		{`"height":9`, `"height":[9]`},
		{`"height":9`, `"height":1e15`},
		{`"height":9`, `"height":"NaN"`},
		{`"height":9`, `"height":1e400`},
		{`"height":9`, `"height":true`},
		{`"coinbasevalue":5000000000`, `"coinbasevalue":1e17`},
		{`"coinbasevalue":5000000000`, `"coinbasevalue":"-1"`},
		{`"coinbasevalue":5000000000`, `"coinbasevalue":"Inf"`},
		{`"fee":7`, `"fee":"7.5"`},
		{`"fee":7`, `"fee":1e17`},
		{`"bits":"207fffff"`, `"bits":4294967296`},
		{`"bits":"207fffff"`, `"bits":"7fffff"`},
		{`"version":536870912`, `"version":"20000000"`},
	} {
		data := strings.Replace(string(small()), wrong[0], wrong[1], 1)
		if _, err := Parse([]byte(data)); err == nil {
			t.Errorf("%s is taken", wrong[1])
		}
		compare(t, []byte(data))
	}
}

// TestEchoed: what goes back to the node is what it has sent, whatever it is.
func TestEchoed(t *testing.T) {
	for _, value := range []string{`"7"`, `7`, `{"a":[1,"b"]}`, `["x"]`, `"\u00e9\n"`, `true`, `""`, `null`} {
		data := strings.Replace(string(small()), `"longpollid":"a\u0062c"`, `"longpollid":`+value+`,"workid":`+value, 1)
		want := value
		if value == "null" || value == `""` {
			want = ""
		}
		tpl, err := Parse([]byte(data))
		if err != nil || string(tpl.LongPollID) != want || string(tpl.WorkID) != want {
			t.Errorf("%s: %+v, %v", value, tpl, err)
		}
	}
}

// TestExpires: a template tells for how long it holds.
func TestExpires(t *testing.T) {
	for value, want := range map[string]time.Duration{
		`120`: 2 * time.Minute, `"5"`: 5 * time.Second, `1.0`: time.Second, `0`: 0, `null`: 0, `-3`: 0, `1e15`: 0, `[]`: 0,
	} {
		data := strings.Replace(string(small()), `"vbrequired"`, `"expires":`+value+`,"vbrequired"`, 1)
		if tpl, err := Parse([]byte(data)); err != nil || tpl.Expires != want {
			t.Errorf("%s: %+v, %v", value, tpl, err)
		}
	}
}

func FuzzParseLikeEncodingJSON(f *testing.F) {
	for _, data := range recordings(f) {
		if len(data) < 4000 {
			f.Add(data)
		}
	}
	f.Add(small())
	f.Fuzz(func(t *testing.T, data []byte) { compare(t, data) })
}

func TestAppend(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for _, digits := range []string{hex.EncodeToString(data), strings.ToUpper(hex.EncodeToString(data))} {
			tx := Transaction{data: []byte(digits)}
			if got := tx.Append([]byte("before")); !bytes.Equal(got, append([]byte("before"), data...)) || tx.Size() != n {
				t.Fatalf("%s: %x", digits, got)
			}
		}
	}
}
