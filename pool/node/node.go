package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/template"
)

// Limits of single calls. A template of a full mempool takes Core about a second.
const (
	quickTimeout    = 3 * time.Second
	templateTimeout = 15 * time.Second
	submitTimeout   = 60 * time.Second
)

const templateMethod = "getblocktemplate"

// coreName is what the software of nodes with Bitcoin Core's name for itself begins with.
const coreName = "Bitcoin Core "

// Options of a Node.
type Options struct {
	URL string // http://host:port or https://host:port
	Credentials
	CA  []byte // PEM certificates to trust; nil: the system's
	ZMQ string // tcp://host:port of Core's hashblock publisher; "": none
	// EmptyFirst has Watch deliver a template for an empty block at once when the tip
	// changed, before the one with transactions, which takes the node some time.
	EmptyFirst bool
	Logger     *slog.Logger
}

// Node is a Bitcoin node. Its methods may be called at once from several goroutines.
type Node struct {
	rpc *client
	// polls is for longpolls alone: they must never stand before a submitblock.
	polls *client
	zmq   string
	empty bool // EmptyFirst
	roots *x509.CertPool
	wsURL string
	log   *slog.Logger
	notes chan struct{} // Notify; holds at most one

	mu       sync.Mutex // guards identity
	identity *Identity
}

// Identity is what a node is.
type Identity struct {
	Network  Network
	Software string // as the node names itself, for people
	Btcd     bool   // it is a btcd: websocket notices, its words for refusals
	rules    []string
}

// New makes a Node; it does not connect yet.
func New(o Options) (*Node, error) {
	address, user, err := splitURL(o.URL)
	if err != nil {
		return nil, err
	}
	if user != nil && o.User == "" && o.Password == "" {
		o.User = user.Username()
		o.Password, _ = user.Password()
	}
	var roots *x509.CertPool
	if len(o.CA) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(o.CA) {
			return nil, fmt.Errorf("node %s: its CA holds no PEM certificate", address)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ws := url.URL{Scheme: strings.Replace(address.Scheme, "http", "ws", 1), Host: address.Host, Path: "/ws"}
	shown := strings.TrimSuffix(address.String(), "/")
	return &Node{
		rpc:   newClient(shown, o.Credentials, roots),
		polls: newClient(shown, o.Credentials, roots),
		zmq:   o.ZMQ,
		empty: o.EmptyFirst,
		roots: roots,
		wsURL: ws.String(),
		log:   o.Logger.With("node", shown),
		notes: make(chan struct{}, 1),
	}, nil
}

// URL is the node's address without credentials.
func (n *Node) URL() string { return n.rpc.url }

// Close gives up idle connections.
func (n *Node) Close() {
	n.rpc.close()
	n.polls.close()
}

// Identify asks the node what it is. The answer is kept: later calls are free.
func (n *Node) Identify(ctx context.Context) (Identity, error) {
	n.mu.Lock()
	known := n.identity
	n.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, templateTimeout)
	defer cancel()
	var genesis string
	if err := n.rpc.call(ctx, "getblockhash", []any{0}, &genesis); err != nil {
		return Identity{}, err
	}
	if _, err := parseHash(genesis); err != nil {
		return Identity{}, fmt.Errorf("node %s: %w", n.URL(), err)
	}
	id := Identity{rules: []string{"segwit"}}
	if err := n.identifySoftware(ctx, &id); err != nil {
		return Identity{}, err
	}
	id.Network = networkOf(genesis, id.Software)
	if id.Network.Name == "mainnet" && !strings.HasPrefix(id.Software, coreName) {
		if err := n.findFork(ctx, &id); err != nil {
			return Identity{}, err
		}
	}
	if id.Network.Name == "signet" && !id.Btcd {
		if err := n.checkSignet(ctx); err != nil {
			return Identity{}, err
		}
		id.rules = append(id.rules, "signet")
	}
	n.mu.Lock()
	n.identity = &id
	n.mu.Unlock()
	return id, nil
}

func (n *Node) identifySoftware(ctx context.Context, id *Identity) error {
	var info struct {
		Subversion string `json:"subversion"`
	}
	err := n.rpc.call(ctx, "getnetworkinfo", []any{}, &info)
	if err == nil && strings.Contains(info.Subversion, "Satoshi") {
		id.Software = coreName + info.Subversion
		return nil
	}
	var rpcErr *RPCError
	if err != nil && !errors.As(err, &rpcErr) && !errors.Is(err, ErrForbidden) {
		return err
	}
	// Only btcd and its kin have a version call that lists API versions.
	var versions map[string]struct {
		Version string `json:"versionstring"`
	}
	if n.rpc.call(ctx, "version", []any{}, &versions) == nil {
		if api, ok := versions["btcdjsonrpcapi"]; ok {
			id.Btcd, id.Software = true, "btcd, RPC API "+api.Version
			return nil
		}
	}
	id.Software = fmt.Sprintf("node %.100q", info.Subversion)
	return nil
}

// findFork finds the network of a node with Bitcoin's first blocks that does not say what it
// is. A height that it has not reached tells nothing.
func (n *Node) findFork(ctx context.Context, id *Identity) error {
	var hash string // of the first fork, in the end
	for _, f := range forks {
		var answer any
		var rpcErr *RPCError
		if err := n.rpc.call(ctx, "getblockhash", []any{f.height}, &answer); err != nil && !errors.As(err, &rpcErr) {
			return err
		}
		hash, _ = answer.(string)
		if name := f.networks[hash]; name != "" {
			id.Network = named(name)
			return nil
		}
	}
	// No hash, or the first block's for every height, tells nothing either.
	if _, err := parseHash(hash); err == nil && hash != id.Network.Genesis {
		id.Network = Network{Name: "chain-" + hash[len(hash)-16:], Genesis: id.Network.Genesis}
	}
	return nil
}

// checkSignet refuses signets whose blocks need a signature: only a challenge of
// OP_TRUE is met by a block as it is.
//
// The template is asked, as Bitcoin Core before 29 tells the challenge nowhere else.
func (n *Node) checkSignet(ctx context.Context) error {
	var info struct {
		Challenge string `json:"signet_challenge"`
	}
	request := map[string]any{"rules": []string{"segwit", "signet"}}
	if err := n.rpc.call(ctx, templateMethod, []any{request}, &info); err != nil {
		return err
	}
	if info.Challenge == "51" {
		return nil
	}
	return fmt.Errorf("node %s: blocks of this signet must be signed by its operators; only a signet with challenge 51 can be mined", n.URL())
}

// Forget drops what Identify keeps: another node may answer at the address.
func (n *Node) Forget() {
	n.mu.Lock()
	n.identity = nil
	n.mu.Unlock()
}

// Template asks for a template.
func (n *Node) Template(ctx context.Context) (*template.Template, error) {
	ctx, cancel := context.WithTimeout(ctx, templateTimeout)
	defer cancel()
	return n.template(ctx, n.rpc, "")
}

func (n *Node) template(ctx context.Context, c *client, longPollID string) (*template.Template, error) {
	id, err := n.Identify(ctx)
	if err != nil {
		return nil, err
	}
	request := map[string]any{
		"capabilities": []string{"longpoll", "coinbasevalue"},
		"rules":        id.rules,
	}
	if longPollID != "" {
		request["longpollid"] = json.RawMessage(longPollID)
	}
	reply, err := c.exchange(ctx, templateMethod, []any{request})
	if err != nil {
		return nil, err
	}
	if reply.status == http.StatusOK {
		t, err := template.ParseReply(reply.body)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.URL(), err)
		}
		if t != nil {
			return t, n.check(t)
		}
	}
	var raw json.RawMessage
	if err := c.decode(templateMethod, reply, &raw); err != nil {
		return nil, err
	}
	t, err := template.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.URL(), err)
	}
	return t, n.check(t)
}

// maxAhead is how far a block's time may be ahead of a node's clock.
const maxAhead = 2 * time.Hour

// check refuses a template whose blocks all nodes would refuse for their time.
func (n *Node) check(t *template.Template) error {
	if err := CheckTime(t.MinTime, time.Now()); err != nil {
		return fmt.Errorf("node %s: %w", n.URL(), err)
	}
	return nil
}

// CheckTime refuses a template whose blocks are of a time (unix seconds) or later, if that is
// too far ahead.
func CheckTime(least uint32, now time.Time) error {
	if at := time.Unix(int64(least), 0); at.After(now.Add(maxAhead)) {
		return fmt.Errorf("blocks of its template must be of %s or later, more than 2 h ahead of this machine's clock, which nodes do not take: check the clocks",
			at.UTC().Format(time.RFC3339))
	}
	return nil
}

// BestBlock is the hash of the tip.
func (n *Node) BestBlock(ctx context.Context) (chainhash.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	var text string
	if err := n.rpc.call(ctx, "getbestblockhash", []any{}, &text); err != nil {
		return chainhash.Hash{}, err
	}
	return parseHash(text)
}

// BlockAt is the hash of the block at a height of the main chain.
func (n *Node) BlockAt(ctx context.Context, height int64) (chainhash.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	var text string
	if err := n.rpc.call(ctx, "getblockhash", []any{height}, &text); err != nil {
		return chainhash.Hash{}, err
	}
	return parseHash(text)
}

// Height is that of the tip.
func (n *Node) Height(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	var height int64
	err := n.rpc.call(ctx, "getblockcount", []any{}, &height)
	return height, err
}

func parseHash(text string) (chainhash.Hash, error) {
	var hash chainhash.Hash
	if len(text) != 2*chainhash.HashSize {
		return hash, fmt.Errorf("block hash %.80q is not 64 hex digits", text)
	}
	err := chainhash.Decode(&hash, text)
	return hash, err
}

// Header is what a node says about a block.
type Header struct {
	// Confirmations is 1 for the tip and 0 or less for a block that is not in the
	// main chain: beside it, invalid, or known by header alone.
	Confirmations int64
	Height        int64
	Bits          uint32
	Version       uint32
	// MedianTime is the median of the last 11 block times; 0 where the node (btcd)
	// does not say.
	MedianTime uint32
	Time       uint32
}

// Header asks for a block; ErrUnknownBlock if the node does not have it.
func (n *Node) Header(ctx context.Context, hash chainhash.Hash) (Header, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	var reply struct {
		Confirmations int64  `json:"confirmations"`
		Height        int64  `json:"height"`
		Bits          string `json:"bits"`
		Version       int64  `json:"version"` // with a sign, or (bcoin) without
		Time          uint32 `json:"time"`
		MedianTime    uint32 `json:"mediantime"`
	}
	err := n.rpc.call(ctx, "getblockheader", []any{hash.String(), true}, &reply)
	var rpcErr *RPCError
	if errors.As(err, &rpcErr) && strings.Contains(rpcErr.Message, "not in the main chain") {
		return Header{Confirmations: -1}, nil // btcd's way to say it
	}
	if err != nil {
		return Header{}, err
	}
	h := Header{
		Confirmations: reply.Confirmations, Height: reply.Height, Version: uint32(reply.Version),
		Time: reply.Time, MedianTime: reply.MedianTime,
	}
	bits, err := strconv.ParseUint(reply.Bits, 16, 32) // btcd leaves zeros on the left out
	if err != nil {
		return Header{}, fmt.Errorf("node %s: getblockheader: bits %.20q are no hex number", n.URL(), reply.Bits)
	}
	h.Bits = uint32(bits)
	return h, nil
}
