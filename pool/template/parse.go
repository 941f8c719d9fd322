package template

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
	"lode/stratum/jsonscan"
	"lode/stratum/merkle"
)

// Limits of what a template may hold; a reply beyond them is refused.
const (
	maxHeight  = 1<<31 - 1
	maxValue   = 21_000_000 * 100_000_000 // satoshis
	maxTxCount = 100_000
	maxAuxSize = 80
	maxExpires = 1 << 31 // seconds
	maxFloat   = 1 << 53 // to which a float64 has all whole numbers
	// maxMember bounds what else there is, as it stands in the reply, in bytes.
	maxMember = 4 << 10
)

// Parse reads the result of getblocktemplate in the dialects of Bitcoin Core and btcd.
// The Template keeps it: it must not be changed afterwards.
func Parse(result []byte) (*Template, error) { return parse(result, ahead) }

func parse(result []byte, ahead int) (*Template, error) {
	s := jsonscan.New(result)
	r := reply{ahead: ahead}
	if !s.Begin('{') {
		return nil, errors.New("block template: not a JSON object")
	}
	r.scan(&s, 1)
	if err := s.End(); err != nil {
		return nil, fmt.Errorf("block template: %w at byte %d", err, s.Offset())
	}
	return r.make()
}

// ParseReply is Parse for the whole reply to the JSON-RPC call, of which the template
// is the result. The template is nil, without an error, where the reply is of another
// kind: it carries an error, or is no JSON. What it is then is for others to find out.
func ParseReply(body []byte) (*Template, error) {
	s := jsonscan.New(body)
	if !s.Begin('{') {
		return nil, nil
	}
	var r *reply
	for n := 0; s.More(n, '}'); n++ {
		switch name := s.Name(); {
		case string(name) == "result" && s.Peek() == '{':
			r = &reply{ahead: ahead}
			s.Begin('{')
			r.scan(&s, 2)
		case string(name) == "result":
			r = nil
			s.Value(1)
		default:
			if value := s.Value(1); string(name) == "error" && !jsonscan.IsNull(value) {
				return nil, nil
			}
		}
	}
	if s.End() != nil || r == nil {
		return nil, nil
	}
	return r.make()
}

// reply holds the members of a reply that matter, raw. Of one that is there twice the
// last counts; null is the same as none.
type reply struct {
	version, previous, value, coinbaseTxn, aux, bits, height, rules, required []byte
	currentTime, minTime, maxTime, longPollID, workID, submitOld, commitment  []byte
	mutable, algorithm, expires                                               []byte
	demand                                                                    string // member that has blocks pay to others

	transactions
	listed bool // transactions were there
	ahead  int  // bytes from which on their second half is read at the same time
}

// scan reads the members of an object that was entered; depth is that of its values.
func (r *reply) scan(s *jsonscan.Scanner, depth int) {
	for n := 0; s.More(n, '}'); n++ {
		name := s.Name()
		if string(name) == "transactions" {
			r.scanTransactions(s, depth)
			continue
		}
		value := s.Value(depth)
		switch string(name) {
		case "version":
			r.version = value
		case "previousblockhash":
			r.previous = value
		case "coinbasevalue":
			r.value = value
		case "coinbasetxn":
			r.coinbaseTxn = value
		case "coinbaseaux":
			r.aux = value
		case "bits":
			r.bits = value
		case "height":
			r.height = value
		case "curtime":
			r.currentTime = value
		case "mintime":
			r.minTime = value
		case "maxtime":
			r.maxTime = value
		case "longpollid":
			r.longPollID = value
		case "workid":
			r.workID = value
		case "submitold":
			r.submitOld = value
		case "rules":
			r.rules = value
		case "mutable":
			r.mutable = value
		case "expires":
			r.expires = value
		case "pow_algo":
			r.algorithm = value
		case "vbrequired":
			r.required = value
		case "default_witness_commitment":
			r.commitment = value
		case "payee", "coinbase_payload": // of chains with masternodes
			if r.demand == "" && len(value) > 2 && value[0] == '"' {
				r.demand = string(name)
			}
		default:
			if r.demand == "" && demanded(value) > 0 {
				r.demand = fmt.Sprintf("%.40s", name)
			}
		}
	}
}

// demanded is the amount that a member of a template, or of its list, has blocks pay to
// others: that of a masternode, a fund, a superblock. -1: it names none.
func demanded(value []byte) int64 {
	s := jsonscan.New(value)
	switch {
	case s.Begin('['):
		for n := 0; s.More(n, ']'); n++ {
			if amount := demanded(s.Value(1)); amount > 0 {
				return amount
			}
		}
	case s.Begin('{'):
		for n := 0; s.More(n, '}'); n++ {
			switch name := s.Name(); string(name) {
			case "amount", "minimumvalue":
				if amount, ok := jsonscan.Integer(s.Value(1)); ok {
					return amount
				}
				return 1
			default:
				s.Value(1)
			}
		}
	}
	return -1
}

func (r *reply) scanTransactions(s *jsonscan.Scanner, depth int) {
	r.transactions, r.listed = transactions{}, s.Peek() != 'n'
	if !s.Begin('[') {
		if value := s.Value(depth); !jsonscan.IsNull(value) {
			r.txErr = errors.New("transactions are not a list")
		}
		return
	}
	half := r.lookAhead(s, depth)
	defer half.wait()
	for s.More(r.n, ']') {
		if half.joins(s, &r.transactions) {
			return
		}
		r.scanOne(s, depth)
	}
}

// transactions are those of a reply, in its order.
type transactions struct {
	n     int // elements that were read; list has the first maxTxCount
	list  []Transaction
	txErr error // what is wrong with the first that is faulty
	fees  int64 // satoshis
}

// scanOne reads the next element of their list.
func (r *transactions) scanOne(s *jsonscan.Scanner, depth int) {
	if r.list == nil {
		// In full blocks transactions have more than 900 bytes on average.
		r.list = make([]Transaction, 0, min(len(s.Rest())/900, maxTxCount)+1)
	}
	r.n++
	if r.txErr != nil || r.n > maxTxCount {
		s.Value(depth + 1) // nothing will come of it: let it cost no memory
		return
	}
	r.list = append(r.list, Transaction{})
	if err := r.scanTransaction(s, depth+1, &r.list[len(r.list)-1]); err != nil {
		r.txErr = fmt.Errorf("transaction %d: %w", r.n, err)
	}
}

var (
	errNotObject = errors.New("not an object")
	errTxHex     = errors.New("data, txid or hash is not a text of hexadecimal digits")
	errTxData    = errors.New("data is of an odd number of digits, or too short")
	errTxID      = errors.New("txid or hash is missing or not of 64 hexadecimal digits")
	errTxFee     = errors.New("fee is not an amount of satoshis")
)

func (r *transactions) scanTransaction(s *jsonscan.Scanner, depth int, tx *Transaction) error {
	if !s.Begin('{') {
		s.Value(depth)
		return errNotObject
	}
	var txid, hash, fee []byte
	bad := [3]bool{} // data, txid, hash
	for n := 0; s.More(n, '}'); n++ {
		switch name := s.Name(); string(name) {
		case "data":
			tx.data, bad[0] = digits(s, depth+1)
		case "txid":
			txid, bad[1] = digits(s, depth+1)
		case "hash":
			hash, bad[2] = digits(s, depth+1)
		case "fee":
			fee = s.Value(depth + 1)
		default:
			s.Value(depth + 1)
		}
	}
	// Servers from before segwit send only hash, which is the txid then.
	if len(txid) == 0 {
		txid, hash = hash, nil
		if len(tx.data) >= 2*minTxSize && tx.hasWitness() {
			return errTxID
		}
	}
	amount := int64(0)
	if !jsonscan.IsNull(fee) {
		var ok bool
		if amount, ok = whole(fee); !ok || amount < 0 || amount > maxValue {
			return errTxFee
		}
	}
	switch {
	case bad != [3]bool{}:
		return errTxHex
	case len(tx.data)%2 != 0 || len(tx.data) < 2*minTxSize:
		return errTxData
	case len(txid) != 2*chainhash.HashSize || len(hash) != 0 && len(hash) != 2*chainhash.HashSize:
		return errTxID
	}
	if r.fees += amount; r.fees > maxValue {
		return errTxFee
	}
	tx.TxID = hashFromHex(txid)
	if len(hash) > 0 {
		tx.wtxid = hash
	}
	return nil
}

// digits reads a text of hexadecimal digits, or null; bad: it is something else.
func digits(s *jsonscan.Scanner, depth int) (content []byte, bad bool) {
	if content, ok := s.Hex(); ok {
		return content, false
	}
	value := s.Value(depth)
	if jsonscan.IsNull(value) {
		return nil, false
	}
	// Nobody writes digits as escapes, but it would be the same text.
	content, ok := jsonscan.Text(value)
	if ok {
		again := jsonscan.New(append(append([]byte{'"'}, content...), '"'))
		content, ok = again.Hex()
	}
	return content, !ok
}

// make checks the members and builds the template.
func (r *reply) make() (*Template, error) {
	t, err := r.template()
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	return t, nil
}

func (r *reply) template() (*Template, error) {
	n := numbers{}
	t := &Template{
		Height:        n.read("height", r.height, 1, maxHeight),
		CoinbaseValue: n.read("coinbasevalue", r.value, 0, maxValue),
		Version:       uint32(n.read("version", r.version, -1<<31, 1<<32-1)),
		CurrentTime:   uint32(n.read("curtime", r.currentTime, 0, 1<<32-1)),
		MinTime:       uint32(n.optional("mintime", r.minTime, 0, 1<<32-1)),
		MaxTime:       uint32(n.optional("maxtime", r.maxTime, 0, 1<<32-1)),
		RequiredBits:  uint32(n.optional("vbrequired", r.required, -1<<31, 1<<32-1)),
		Stale:         string(r.submitOld) == "false",
		Transactions:  r.list,
	}
	if len(r.version) > 0 && r.version[0] == '"' && n.err == nil {
		n.err = fmt.Errorf("version %.24q is a text: of which base is it?", r.version)
	}
	switch {
	case jsonscan.IsNull(r.value) && !jsonscan.IsNull(r.coinbaseTxn):
		return nil, errors.New("the node insists on its own coinbase (coinbasetxn); coinbasevalue is needed")
	case n.err != nil:
		return nil, n.err
	case !r.listed:
		return nil, errors.New("transactions are missing") // an empty block must not claim their fees
	case r.txErr != nil:
		return nil, r.txErr
	case r.n > maxTxCount:
		return nil, fmt.Errorf("%d transactions, at most %d are taken", r.n, maxTxCount)
	case t.MaxTime > 0 && t.MaxTime < max(t.CurrentTime, t.MinTime):
		return nil, fmt.Errorf("maxtime %d is before curtime %d or mintime %d", t.MaxTime, t.CurrentTime, t.MinTime)
	case r.fees > t.CoinbaseValue:
		return nil, fmt.Errorf("fees of %d in a coinbasevalue of %d", r.fees, t.CoinbaseValue)
	}
	if err := r.checkOthers(); err != nil {
		return nil, err
	}
	algorithm, err := readText("pow_algo", r.algorithm)
	if err != nil {
		return nil, err
	}
	if t.ManyAlgorithms = algorithm != ""; t.ManyAlgorithms && !strings.EqualFold(algorithm, "sha256d") {
		return nil, fmt.Errorf("it is for proof of work by %.20q: have the node give those of sha256d (DigiByte: algo=sha256d in its configuration)", algorithm)
	}
	if t.PreviousHash, err = readHash(r.previous); err != nil {
		return nil, err
	}
	if t.Bits, err = readBits(r.bits); err != nil {
		return nil, err
	}
	if t.LongPollID, err = readID("longpollid", r.longPollID); err != nil {
		return nil, err
	}
	if t.WorkID, err = readID("workid", r.workID); err != nil {
		return nil, err
	}
	if seconds, ok := whole(r.expires); ok && seconds > 0 && seconds <= maxExpires {
		t.Expires = time.Duration(seconds) * time.Second
	}
	if t.Rules, err = readList("rules", r.rules); err != nil {
		return nil, err
	}
	mutable, err := readList("mutable", r.mutable)
	if err != nil {
		return nil, err
	}
	if mutable != nil && !slices.Contains(mutable, "time") {
		later, earlier := slices.Contains(mutable, "time/increment"), slices.Contains(mutable, "time/decrement")
		now := max(t.CurrentTime, t.MinTime)
		switch {
		case !later && !earlier:
			t.FixedTime = true
		case !earlier:
			t.MinTime = now
		case !later:
			t.MaxTime = now
		}
	}
	if t.CoinbaseAux, err = auxBytes(r.aux); err != nil {
		return nil, err
	}
	if err := checkRules(t.Rules); err != nil {
		return nil, err
	}
	t.Commitment, err = r.commitmentScript(t)
	return t, err
}

// checkOthers refuses a template of a chain on which blocks must pay to others than their
// finder: eCash has that in coinbasetxn, with an amount of 0 where it asks for nothing.
func (r *reply) checkOthers() error {
	if r.demand != "" {
		return fmt.Errorf("blocks of this chain must pay to others, too, or say more in their coinbase (%q), which is not supported", r.demand)
	}
	s := jsonscan.New(r.coinbaseTxn)
	if !s.Begin('{') {
		return nil
	}
	for n := 0; s.More(n, '}'); n++ {
		name := string(s.Name())
		value := s.Value(1)
		if name != "data" && len(value) > 0 && value[0] == '{' && string(value) != "{}" && demanded(value) != 0 {
			return fmt.Errorf("blocks of this chain must pay to others, too (%.40q in coinbasetxn), which is not supported", name)
		}
	}
	return nil
}

// numbers reads integers and keeps the first error.
type numbers struct{ err error }

func (n *numbers) read(name string, raw []byte, least, most int64) int64 {
	if jsonscan.IsNull(raw) {
		if n.err == nil {
			n.err = fmt.Errorf("%s is missing", name)
		}
		return 0
	}
	return n.optional(name, raw, least, most)
}

// optional allows a number to be absent: it is 0 then.
func (n *numbers) optional(name string, raw []byte, least, most int64) int64 {
	if jsonscan.IsNull(raw) {
		return 0
	}
	v, ok := whole(raw)
	if !ok || v < least || v > most {
		if n.err == nil {
			n.err = fmt.Errorf("%s %.24q is not a whole number from %d to %d", name, raw, least, most)
		}
		return 0
	}
	return v
}

// whole is a whole number, also as a text, or with a fraction of nothing or an exponent, as
// some programs write them.
func whole(raw []byte) (int64, bool) {
	if n, ok := jsonscan.Integer(raw); ok {
		return n, true
	}
	if text, ok := jsonscan.Text(raw); ok {
		raw = bytes.TrimSpace(text)
		if n, ok := jsonscan.Integer(raw); ok {
			return n, true
		}
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > maxFloat || bytes.ContainsAny(raw, "xX_") {
		return 0, false
	}
	return int64(f), true
}

// readID is what the node wants back as it came; "": nothing.
func readID(name string, raw []byte) (string, error) {
	switch {
	case jsonscan.IsNull(raw), string(raw) == `""`:
		return "", nil
	case len(raw) > maxMember:
		return "", fmt.Errorf("%s: %d bytes, at most %d are taken", name, len(raw), maxMember)
	}
	return string(raw), nil
}

// readText reads a text that may be absent.
func readText(name string, raw []byte) (string, error) {
	if jsonscan.IsNull(raw) {
		return "", nil
	}
	content, ok := jsonscan.Text(raw)
	if !ok || len(raw) > maxMember {
		return "", fmt.Errorf("%s %.24q is not a text of at most %d bytes", name, raw, maxMember)
	}
	return string(content), nil
}

// readList reads a list of texts that may be absent: it is nil then.
func readList(name string, raw []byte) (list []string, err error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	if len(raw) > maxMember {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are taken", name, len(raw), maxMember)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

func readHash(raw []byte) (chainhash.Hash, error) {
	text, err := readText("previousblockhash", raw)
	if err != nil {
		return chainhash.Hash{}, err
	}
	if _, err := hex.DecodeString(text); err != nil || len(text) != 2*chainhash.HashSize {
		return chainhash.Hash{}, fmt.Errorf("previousblockhash %.80q is not 64 hex digits", text)
	}
	return hashFromHex([]byte(text)), nil
}

func readBits(raw []byte) (uint32, error) {
	if n, ok := jsonscan.Integer(raw); ok && n >= 0 && n <= math.MaxUint32 {
		_, err := stratum.TargetFromBits(uint32(n))
		return uint32(n), err
	}
	text, err := readText("bits", raw)
	if err != nil {
		return 0, err
	}
	text = strings.TrimPrefix(text, "0x")
	bits, err := strconv.ParseUint(text, 16, 32)
	if err != nil || len(text) != 8 {
		return 0, fmt.Errorf("bits %.20q are not 8 hex digits", text)
	}
	_, err = stratum.TargetFromBits(uint32(bits))
	return uint32(bits), err
}

// checkRules refuses a template with a rule that changes how blocks are built and
// that this package does not know (a leading "!", BIP 9).
func checkRules(rules []string) error {
	for _, rule := range rules {
		switch rule {
		case "!segwit", "!signet":
			// What "!signet" demands is in the block's solution: the node package
			// lets it pass only where the challenge is trivial.
		default:
			if len(rule) > 0 && rule[0] == '!' {
				return fmt.Errorf("rule %.40q must be understood to mine, and is not", rule)
			}
		}
	}
	return nil
}

// commitmentScript is the script of the witness commitment. Core sends the whole script
// always, even before segwit is active; btcd sends the 32-byte commitment alone, and only
// where a transaction has a witness. What a node sends says that there is to be a
// commitment; which one is made of the transactions.
func (r *reply) commitmentScript(t *Template) ([]byte, error) {
	witness := false
	for i := range t.Transactions {
		if t.Transactions[i].hasWitness() {
			witness = true
			break
		}
	}
	if !witness && len(t.Rules) > 0 && !t.HasRule("segwit") {
		return nil, nil // the node speaks of rules, and segwit is not among them
	}
	text, err := readText("default_witness_commitment", r.commitment)
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(text)
	switch {
	case err == nil && len(raw) == 0:
		if !witness {
			return nil, nil
		}
		return commitmentScript(witnessCommitment(t.Transactions)), nil
	case err == nil && len(raw) == chainhash.HashSize:
		raw = commitmentScript(chainhash.Hash(raw))
	case err == nil && len(raw) >= commitmentSize && len(raw) <= 100 && string(raw[:len(commitmentPrefix)]) == commitmentPrefix:
	default:
		return nil, fmt.Errorf("default_witness_commitment %.100q is neither a script nor a hash", text)
	}
	if ours := witnessCommitment(t.Transactions); string(raw[len(commitmentPrefix):commitmentSize]) != string(ours[:]) {
		// Either the hashes are wrong, and all is lost, or the commitment is.
		return commitmentScript(ours), t.checkHashes()
	}
	return raw, nil
}

// checkHashes compares the hashes of the transactions with their data.
func (t *Template) checkHashes() error {
	for i := range t.Transactions {
		if tx := &t.Transactions[i]; tx.wtxid != nil && merkle.Double(tx.Append(nil)) != hashFromHex(tx.wtxid) {
			return fmt.Errorf("default_witness_commitment is not that of the transactions: the data of transaction %d do not have the hash %.64s", i+1, tx.wtxid)
		}
	}
	return nil
}

// auxBytes joins the blobs of coinbaseaux in the order of their names. Blobs that
// leave no room in the coinbase are left out: including them is only a wish (BIP 22).
func auxBytes(raw []byte) ([]byte, error) {
	if jsonscan.IsNull(raw) {
		return nil, nil
	}
	if len(raw) > maxMember {
		return nil, fmt.Errorf("coinbaseaux: %d bytes, at most %d are taken", len(raw), maxMember)
	}
	var aux map[string]string
	if err := json.Unmarshal(raw, &aux); err != nil {
		return nil, fmt.Errorf("coinbaseaux: %w", err)
	}
	names := make([]string, 0, len(aux))
	for name := range aux {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []byte
	for _, name := range names {
		blob, err := hex.DecodeString(aux[name])
		if err != nil {
			return nil, fmt.Errorf("coinbaseaux %.40q: %w", name, err)
		}
		if len(out)+len(blob) <= maxAuxSize {
			out = append(out, blob...)
		}
	}
	return out, nil
}
