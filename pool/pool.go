// Package pool is the pool-proxy: it takes work from a Bitcoin node
// (getblocktemplate) or from a Stratum pool, serves it to miners over Stratum,
// judges their shares, and never loses a block that they find.
//
//	p, err := pool.New(pool.Config{…})
//	err = p.Run(ctx)
//
// # Rooms
//
// This package ties the rooms together and has little of its own: Config and its check, the
// start and the end (proxy.go), which upstreams there are (upstreams.go), the way of a block
// from the miners to the keeper (found.go), and what is shown of all that (status.go).
//
// What can be said without I/O, and has no clock of its own:
//
//	jobs      what miners search, and the table of what shares may come for
//	judge     what a share is worth
//	share     difficulty of a hash, duplicates
//	space     extranonce1 values and who has them
//	vardiff   the difficulty of a miner
//	upstream  the arbiter over what all upstreams say
//	template  getblocktemplate to coinbase, branch and block
//
// From an upstream to the miners and back:
//
//	source      what an upstream is to the proxy; nodesource and poolsource are its kinds,
//	            node is how one talks with a node
//	director    runs the sources and does what the arbiter decides
//	miners      sessions of miners: places, difficulties, jobs out, shares in
//	blocks      has a found block reach the chain; journal is where it outlives a crash
//
// Around that:
//
//	accounts  shares by worker
//	workers   the file of who may mine
//	statedir  the folder that outlives the process
//	memory    whether there is any left
//	monitor   API, metrics, page; api bounds what serving them costs
//
// # Words
//
//	upstream, source  a node or pool of the list; source is the code for one
//	work              what an upstream gives to be searched: jobs.Work is what jobs are made
//	                  of, template.Work the block in it, upstream.Work what the arbiter sees
//	job, edition, key, variant  see package jobs
//	candidate         the block of a node's template, see package template
//	session           what is known of one connection of a miner
//	space, lease      see package space; a holding is a lease with what was found in it
//	former            a holding that the session had before its upstream changed
//	past              what a session leaves for the connection that resumes it
//	told              the difficulty that the miner was sent last
//	attempt           a share on its way through judgement
//
// # Clock
//
// There is one, which New hands on: rooms get the time with each call, or the function. What
// looks after the process itself – retries, timeouts of requests, the API's turns – uses
// time.Now, and is tested with testing/synctest.
//
// # Locks
//
// In the order in which they are taken: the director's publishing, then one session's mu or
// the director's mu, those never together, nor two sessions' mu. The locks inside of the
// other rooms come last: nobody is called while they are held.
package pool

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"lode/pool/api"
	"lode/stratum"
)

// Config is what a Proxy needs. Zero values are the defaults that the fields name.
type Config struct {
	// Listen is host:port of the Stratum server, HTTPListen that of the API and
	// metrics ("": none). ListenTLS needs CertFile and KeyFile.
	Listen, HTTPListen, ListenTLS string
	CertFile, KeyFile             string
	// Upstreams, best first.
	Upstreams []Upstream
	// PayoutAddress gets the reward of blocks from node upstreams. It is checked
	// against the network of the node.
	PayoutAddress string
	// CoinbaseTag is text for the coinbase, at most 40 bytes.
	CoinbaseTag string
	// StateDir holds the block journal and the accounts.
	StateDir string
	// Shard distinguishes proxies that share a node or payout address: it is part
	// of every extranonce1.
	Shard uint8
	// Authorize decides who may mine; nil: everybody.
	Authorize func(user, password string) error
	// OnBlock is called when a block was found and at each change of its state, one call
	// at a time, in order.
	OnBlock func(Block)
	// MinBlockInterval throttles blocks on test networks, where a node takes a
	// thousand blocks a second: until it has passed since the last block, a hash
	// that meets the network's target counts as a share and no more. 0: none.
	MinBlockInterval time.Duration
	// SharesPerMinute is what vardiff aims at, per connection; 0: 15.
	SharesPerMinute float64
	// StartDifficulty is for miners of which nothing is known; 0: by their kind,
	// 0.001 where that is unknown too. MinDifficulty and MaxDifficulty bound what
	// vardiff gives; 0: 1e-6 and 1e12.
	StartDifficulty, MinDifficulty, MaxDifficulty float64
	// StaleGrace is how long after a new block shares for the old one still count
	// (as shares, not as blocks); 0: not at all.
	StaleGrace time.Duration
	// Confirmations until a found block is no longer watched; 0: 20.
	Confirmations int64
	// HoldDown is how long a better upstream must be back before it is preferred;
	// 0: 60 s, negative: none.
	HoldDown time.Duration
	// IdleClose is how long after the last work miners are sent away, and refused
	// until there is work again, so that their own backup pools get them; 0: they stay
	// connected.
	IdleClose time.Duration
	// EmptyFirst sends a job for an empty block at once when a node has a new tip,
	// before the one with transactions.
	EmptyFirst bool
	// WholeExtranonce gives all of an upstream pool's extranonce2 to one miner at a time,
	// which other miners have to wait for: rented hashrate wants 4 bytes, and some pools
	// have no more.
	WholeExtranonce bool
	// NoVersionRolling offers no version bits to miners.
	NoVersionRolling bool
	// Limits are what the Stratum server puts up with.
	Limits stratum.Limits
	// ServeTransactions answers mining.get_transactions.
	ServeTransactions bool
	// API is what the HTTP API puts up with.
	API api.Limits
	// NotifyFrom are the networks that POST /notify is taken from; nil: this machine.
	NotifyFrom []netip.Prefix
	// NotifyInterval is the least time between two questions to the nodes that Notify
	// brings about; 0: 200 ms.
	NotifyInterval time.Duration
	// ProxyFrom are balancers that send PROXY protocol headers.
	ProxyFrom []netip.Prefix
	Logger    *slog.Logger
	// ListenFunc opens listeners; nil: net.Listen.
	ListenFunc func(network, addr string) (net.Listener, error)
}

// Upstream is one source of work.
type Upstream struct {
	// URL is node:http://host:port, node:https://host:port,
	// stratum+tcp://host:port or stratum+tls://host:port.
	URL            string
	User, Password string
	// PasswordFile holds the password, or CookieFile Bitcoin Core's user:password
	// cookie; both are read again when the node refuses.
	PasswordFile, CookieFile string
	// CA are PEM certificates to trust; nil: the system's.
	CA []byte
	// ZMQ is the address of Core's hashblock publisher, tcp://host:port; "": none.
	ZMQ string
	// ExpectAddress, if set, is an address that the coinbase of each job of a
	// Stratum pool must pay to; a pool that breaks this is left.
	ExpectAddress string
	// SuggestDifficulty is asked of a Stratum pool; 0: nothing is.
	SuggestDifficulty float64
}

// BlockState is what is known of a found block.
type BlockState string

// States of a found block.
const (
	BlockSubmitted BlockState = "submitted" // on its way to the journal and to nodes
	BlockConfirmed BlockState = "confirmed" // a node has it in its main chain
	BlockOrphaned  BlockState = "orphaned"  // a node has another block at its height, deep enough
)

// Block is a block that a miner of this proxy found.
type Block struct {
	Height        int64
	Hash          string // display order, hex
	State         BlockState
	Finder        string // worker name
	Confirmations int
	Detail        string // last word of a node that did not just take it
	FoundAt       time.Time
	Raw           []byte // complete serialized block; nil where only the state is told
	// Pool is the upstream pool whose block it is: the share went there, and its word
	// is in Detail. "": a block of our own nodes.
	Pool string
}

// Status is a snapshot of a Proxy.
type Status struct {
	Ready       bool   // there is valid work for miners
	Listen      string // addresses that were bound, "": none
	ListenTLS   string
	HTTP        string
	Upstream    string // URL of the active upstream, without credentials; "": none
	Network     string // mainnet, testnet3, testnet4, signet, simnet, regtest; "": unknown
	Height      int64  // of the block being mined
	Connections int
	Hashrate    float64 // H/s from accepted shares
	Shares      Shares
	Blocks      []Block // newest first, without Raw
	LastError   string
}

// Shares counts shares by outcome.
type Shares struct {
	Accepted, Rejected, Stale uint64
	// Difficulty is the sum of the accepted shares' difficulties (pdiff).
	Difficulty float64
}

// Runner is what an executor needs of a Proxy.
type Runner interface {
	Run(ctx context.Context) error // returns nil when ctx ends and everything is closed
	Status() Status
}
