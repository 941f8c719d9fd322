package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Verdict is what an answer to submitblock means for the block.
type Verdict int

// Verdicts. None of them proves that the block is in the main chain: btcd takes
// blocks beside it, and even orphans, without a word. Ask Node.Header.
const (
	Taken   Verdict = iota // new to the node, and it keeps it
	Known                  // the node had it already
	Side                   // kept, but not the best chain
	Later                  // cannot be judged yet: parent unknown, time too new
	Invalid                // broken: no node will take it
)

func (v Verdict) String() string {
	switch v {
	case Taken:
		return "taken"
	case Known:
		return "known"
	case Side:
		return "side chain"
	case Later:
		return "later"
	default:
		return "invalid"
	}
}

const submitMethod = "submitblock"

// Submit hands a complete serialized block to the node, with the id that the node gave to the
// work (BIP 22), raw JSON, if any. reason is the node's word ("" when it took the block). An
// error means that nothing is known: try again.
func (n *Node) Submit(ctx context.Context, block []byte, workID string) (v Verdict, reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	params := []any{digits(block)}
	if workID != "" {
		params = append(params, map[string]json.RawMessage{"workid": json.RawMessage(workID)})
	}
	var answer any
	if err := n.rpc.call(ctx, submitMethod, params, &answer); err != nil {
		var rpcErr *RPCError
		if errors.As(err, &rpcErr) && rpcErr.Code == -22 { // not decodable
			return Invalid, rpcErr.Message, nil
		}
		return Later, "", err
	}
	if word, ok := wordOf(answer); ok {
		return interpret(word), word, nil
	}
	return Later, "", fmt.Errorf("node %s: %s: unexpected result %.80q", n.URL(), submitMethod, fmt.Sprint(answer))
}

// wordOf is the word in an answer: BIP 22 has it as a text, others say true, or have it in an
// object or a list. "": the node took the block.
func wordOf(answer any) (word string, ok bool) {
	switch v := answer.(type) {
	case nil:
		return "", true
	case bool:
		return "", v
	case string:
		return v, true
	case []any:
		if len(v) > 0 {
			return wordOf(v[0])
		}
	case map[string]any:
		verdicts, reasons := []string{"accepted", "success", "status", "result"}, []string{"reason", "reject-reason", "message", "error"}
		for _, name := range verdicts {
			if text, isText := v[name].(string); v[name] == true || isText && interpret(text) == Taken {
				return "", true
			}
		}
		for _, name := range append(reasons, verdicts...) {
			if text, isText := v[name].(string); isText && text != "" {
				return text, true
			}
		}
	}
	return "", false
}

// interpret reads the words of BIP 22, of Core's consensus code, and of btcd and bcoin,
// which put English or the words of Core after "rejected:". Words may carry a suffix, as in
// "bad-version(0x00000001)". A word that nobody knows is not taken for the end of a block.
func interpret(word string) Verdict {
	word = strings.ToLower(strings.TrimSpace(word))
	if text, isSentence := strings.CutPrefix(word, "rejected:"); isSentence {
		return interpretSentence(strings.TrimSpace(text))
	}
	switch {
	case word == "", word == "accepted", word == "ok":
		return Taken
	case word == "duplicate", word == "duplicate block", strings.Contains(word, "already have"), strings.Contains(word, "already exists"):
		return Known
	case strings.HasPrefix(word, "duplicate-invalid"):
		return Invalid
	case strings.HasPrefix(word, "inconclusive"), word == "duplicate-inconclusive",
		strings.HasPrefix(word, "stale-"):
		return Side
	}
	for _, broken := range []string{
		"bad-", "high-hash", "time-too-old", "time-invalid", "unexpected-", "mandatory-", "block-", "blk-", "tx-", "invalid", "version-",
	} {
		if strings.HasPrefix(word, broken) {
			return Invalid
		}
	}
	return Later // prev-blk-not-found, time-too-new, and what may be a node's own trouble
}

// interpretSentence reads what btcd and bcoin have against a block: that is the end of it,
// but for what time may change.
func interpretSentence(text string) Verdict {
	contains := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	switch {
	case text == "duplicate", contains("already have block", "already exists"):
		return Known
	case text == "bad-prevblk", text == "time-too-new": // bcoin says so of a parent that it does not have
		return Later
	case contains("too far in the future"), contains("previous block") && contains("not known"):
		return Later
	case contains("database", "leveldb", "no space left", "input/output error", "read-only file"):
		return Later // btcd does not tell its own trouble from the block's
	}
	return Invalid
}

// Propose asks the node whether it would take the block, leaving out proof of work
// (BIP 23, mode proposal): "" or its word.
func (n *Node) Propose(ctx context.Context, block []byte) (reason string, err error) {
	ctx, cancel := context.WithTimeout(ctx, templateTimeout)
	defer cancel()
	id, err := n.Identify(ctx)
	if err != nil {
		return "", err
	}
	var word *string
	request := map[string]any{"mode": "proposal", "data": hex.EncodeToString(block), "rules": id.rules}
	if err := n.rpc.call(ctx, templateMethod, []any{request}, &word); err != nil {
		return "", err
	}
	if word == nil {
		return "", nil
	}
	return *word, nil
}
