package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"lode/executor/boundlog"
	"lode/pool"
	"lode/pool/api"
	"lode/pool/memory"
	"lode/pool/node"
	"lode/pool/workers"
	"lode/stratum"
)

// proxyCmd is `lode proxy`.
type proxyCmd struct {
	proxyFlags `embed:""`

	Serve proxyServeCmd `cmd:"" default:"withargs" help:"Serve miners (the default)."`
	Check proxyCheckCmd `cmd:"" help:"Look whether the configuration and the upstreams are right, and say what is wrong."`
}

// Help is shown by lode proxy --help.
func (proxyCmd) Help() string {
	return `Takes work from a Bitcoin node or a Stratum pool and serves it to miners over Stratum v1.

  lode proxy --upstream node:http://127.0.0.1:8332 --node-cookie-file ~/.bitcoin/.cookie \
    --payout-address bc1q… --state-dir /var/lib/lode-proxy --http-listen 127.0.0.1:8651

SIGUSR1 (for bitcoind's -blocknotify) has it ask the nodes for a new block at once; SIGTERM and SIGINT end it in order.`
}

// proxyFlags are common to both.
type proxyFlags struct {
	Listen     string `help:"Address for miners." default:"0.0.0.0:3333" placeholder:"HOST:PORT"`
	TLSListen  string `name:"tls-listen" help:"Address for miners that speak TLS; needs --tls-cert and --tls-key." placeholder:"HOST:PORT"`
	TLSCert    string `name:"tls-cert" help:"PEM certificate chain; read again when it changes." placeholder:"FILE"`
	TLSKey     string `name:"tls-key" help:"PEM key of the certificate." placeholder:"FILE"`
	HTTPListen string `name:"http-listen" help:"Address of API, metrics and health check; it tells names of workers, so keep it inside." placeholder:"HOST:PORT"`

	Upstream         []string `help:"Where work comes from, best first: node:http://host:port, node:https://host:port, stratum+tcp://host:port or stratum+tls://host:port, with user:password@ before the host where it is not that of all. Repeatable." required:"" placeholder:"URL"`
	NodeUser         string   `help:"RPC user of node upstreams." placeholder:"NAME"`
	NodePasswordFile string   `help:"File with the RPC password; or set LODE_NODE_PASSWORD." placeholder:"FILE"`
	NodeCookieFile   string   `help:"Cookie file of a Bitcoin Core on this machine, instead of user and password. It may come later." placeholder:"PATH"`
	NodeCA           string   `name:"node-ca" help:"PEM certificate to trust for nodes (rpc.cert of btcd)." placeholder:"FILE"`
	NodeZMQ          string   `name:"node-zmq" help:"Address of Bitcoin Core's zmqpubhashblock." placeholder:"tcp://HOST:PORT"`
	PoolUser         string   `help:"User at Stratum upstreams." placeholder:"NAME"`
	PoolPasswordFile string   `help:"File with the password at Stratum upstreams; or set LODE_POOL_PASSWORD." placeholder:"FILE"`
	PoolCA           string   `name:"pool-ca" help:"PEM certificate to trust for stratum+tls upstreams." placeholder:"FILE"`
	PayoutAddress    string   `help:"Address that gets the reward of blocks from node upstreams." placeholder:"ADDRESS"`
	PayoutScript     string   `help:"Output script that gets the reward instead of an address, for chains whose addresses are not known." placeholder:"HEX"`
	CoinbaseTag      string   `help:"Text for the coinbase, at most 40 bytes." default:"/lode/" empty:"" placeholder:"TEXT"`

	StateDir    string `help:"Folder for the journal of found blocks and the accounts." required:"" placeholder:"DIR"`
	Shard       uint8  `help:"Number of this proxy among those that share a node or payout address." default:"0"`
	WorkersFile string `help:"File with the workers that may mine: a name (or its beginning and *) and perhaps a password on each line, comments after a word that begins with #; read again when it changes; default: everybody." placeholder:"FILE"`

	SharesPerMinute  float64       `help:"Shares that each miner is to send per minute." default:"15"`
	StartDifficulty  float64       `help:"First difficulty of an unknown miner; 0: by its kind." default:"0"`
	MinDifficulty    float64       `help:"Least difficulty." default:"0.000001"`
	MaxDifficulty    float64       `help:"Greatest difficulty." default:"1000000000000"`
	StaleGrace       time.Duration `help:"For how long after a new block shares of the old one still count." default:"0s"`
	HoldDown         time.Duration `help:"For how long a better upstream must be back before it is preferred." default:"60s"`
	CloseWhenIdle    time.Duration `help:"For how long miners stay connected without work before they are sent to their backup pools; 0: for good." default:"0s"`
	Confirmations    int64         `help:"Depth at which a found block is no longer watched." default:"20"`
	MinBlockInterval time.Duration `help:"Least time between two blocks; only for test networks." default:"0s"`
	WholeExtranonce  bool          `help:"Under a pool, give its whole extranonce2 to one miner at a time: rented hashrate wants 4 bytes, and some pools have no more."`
	EmptyFirst       bool          `help:"On a new block, send a job for an empty block before the one with transactions."`
	VersionRolling   bool          `help:"Let miners roll version bits (BIP 310)." default:"true" negatable:""`
	GetTransactions  bool          `help:"Answer mining.get_transactions."`
	NotifyFrom       []string      `help:"Networks that may POST /notify; default: this machine." placeholder:"CIDR"`
	NotifyInterval   time.Duration `help:"Least time between two questions to the nodes that POST /notify and SIGUSR1 bring about: for each the node makes a block template." default:"200ms" placeholder:"DURATION"`
	ProxyFrom        []string      `help:"Balancers that send PROXY protocol headers, as addresses or networks." placeholder:"CIDR"`

	Limit stratum.Limits `embed:"" prefix:"limit-" group:"Limits (0: none)"`
	API   api.Limits     `embed:"" prefix:"api-" group:"Limits of the HTTP API"`
}

// payout is what gets the reward: an address, or a script in the place of one.
func (f *proxyFlags) payout() string {
	if f.PayoutScript != "" {
		return node.ScriptAddress(f.PayoutScript)
	}
	return f.PayoutAddress
}

func (f *proxyFlags) config(env *environment) (pool.Config, error) {
	config := pool.Config{
		Listen: f.Listen, HTTPListen: f.HTTPListen, ListenTLS: f.TLSListen, CertFile: f.TLSCert, KeyFile: f.TLSKey,
		PayoutAddress: f.payout(), CoinbaseTag: f.CoinbaseTag, StateDir: f.StateDir, Shard: f.Shard,
		SharesPerMinute: f.SharesPerMinute, StartDifficulty: f.StartDifficulty, MinDifficulty: f.MinDifficulty, MaxDifficulty: f.MaxDifficulty,
		StaleGrace: f.StaleGrace, HoldDown: f.HoldDown, Confirmations: f.Confirmations, MinBlockInterval: f.MinBlockInterval,
		EmptyFirst: f.EmptyFirst, WholeExtranonce: f.WholeExtranonce, IdleClose: f.CloseWhenIdle, NoVersionRolling: !f.VersionRolling, Logger: env.log,
	}
	if f.HoldDown == 0 {
		config.HoldDown = -1 // none, where 0 would be the default
	}
	if f.PayoutScript != "" && f.PayoutAddress != "" {
		return config, usagef("--payout-script stands for --payout-address: give one of them")
	}
	if (f.TLSCert == "") != (f.TLSKey == "") || (f.TLSListen != "") != (f.TLSCert != "") {
		return config, usagef("--tls-listen, --tls-cert and --tls-key go together: give all three")
	}
	var err error
	if config.ProxyFrom, err = networks("--proxy-from", f.ProxyFrom); err != nil {
		return config, err
	}
	if config.NotifyFrom, err = networks("--notify-from", f.NotifyFrom); err != nil {
		return config, err
	}
	config.Limits, config.ServeTransactions = f.Limit, f.GetTransactions
	config.API, config.NotifyInterval = f.API, f.NotifyInterval
	if err := config.API.Check(); err != nil {
		return config, usagef("%w", err)
	}
	if f.NotifyInterval <= 0 {
		return config, usagef("--notify-interval=%v: want more than 0", f.NotifyInterval)
	}
	config.Limits.ZeroIsNone()
	if err := config.Limits.Check(); err != nil {
		return config, limitError(err)
	}
	upstreams, err := f.upstreams()
	if err != nil {
		return config, err
	}
	config.Upstreams = upstreams
	if err := f.check(upstreams); err != nil {
		return config, err
	}
	if f.WorkersFile != "" {
		list, err := workers.Open(f.WorkersFile, func(err error) { env.log.Error("the former workers stay in force", "error", err) })
		if err != nil {
			return config, usagef("--workers-file: %w", err)
		}
		config.Authorize = list.Authorize
	}
	return config, nil
}

// limitError names the flag of a limit.
func limitError(err error) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "limit "), ":")
	return usagef("--limit-%s: %w", name, err)
}

// networks reads addresses and networks.
func networks(flag string, texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, usagef("%s %q: want an address or a network such as 10.0.0.0/8", flag, text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		list = append(list, prefix)
	}
	return list, nil
}

// check refuses what cannot work.
func (f *proxyFlags) check(upstreams []pool.Upstream) error {
	w := work{payout: f.payout(), tag: f.CoinbaseTag, minBlockInterval: f.MinBlockInterval, userFlag: "--pool-user"}
	for _, u := range upstreams {
		w.sources = append(w.sources, source{url: u.URL, user: u.User, flag: "--upstream"})
	}
	switch err := w.check(); {
	case err != nil:
		return err
	case f.MinDifficulty > f.MaxDifficulty && f.MaxDifficulty > 0:
		return usagef("--min-difficulty=%g is above --max-difficulty=%g", f.MinDifficulty, f.MaxDifficulty)
	case f.StartDifficulty > 0 && (f.StartDifficulty < f.MinDifficulty || f.MaxDifficulty > 0 && f.StartDifficulty > f.MaxDifficulty):
		return usagef("--start-difficulty=%g is not between --min-difficulty=%g and --max-difficulty=%g", f.StartDifficulty, f.MinDifficulty, f.MaxDifficulty)
	case f.SharesPerMinute == 0 || f.SharesPerMinute > 60_000:
		return usagef("--shares-per-minute=%g: want more than 0 and at most 60000", f.SharesPerMinute)
	case f.Confirmations == 0:
		return usagef("--confirmations=0: want 1 or more")
	case f.NodeCookieFile != "" && (f.NodeUser != "" || f.NodePasswordFile != ""):
		return usagef("--node-cookie-file stands for --node-user and --node-password-file: give one or the other")
	}
	return nil
}

func (f *proxyFlags) upstreams() ([]pool.Upstream, error) {
	nodeCA, _, err := readCertificates("--node-ca", f.NodeCA)
	if err != nil {
		return nil, err
	}
	poolCA, _, err := readCertificates("--pool-ca", f.PoolCA)
	if err != nil {
		return nil, err
	}
	poolPassword, nodePassword := takeSecret("LODE_POOL_PASSWORD"), takeSecret("LODE_NODE_PASSWORD")
	if f.PoolPasswordFile != "" {
		if poolPassword, err = readSecret(f.PoolPasswordFile); err != nil {
			return nil, usagef("--pool-password-file: %w", err)
		}
	}
	var list []pool.Upstream
	for _, address := range f.Upstream {
		u := pool.Upstream{URL: address, User: f.PoolUser, Password: poolPassword, CA: poolCA}
		if strings.HasPrefix(address, "node:") {
			u = pool.Upstream{
				URL: address, User: f.NodeUser, Password: nodePassword,
				PasswordFile: f.NodePasswordFile, CookieFile: f.NodeCookieFile, CA: nodeCA, ZMQ: f.NodeZMQ,
			}
		}
		if hasUser(address) { // its own, where the flags are for all the others
			u.User, u.Password, u.PasswordFile, u.CookieFile = "", "", "", ""
		}
		list = append(list, u)
	}
	return list, nil
}

// hasUser reports whether an address names its user.
func hasUser(address string) bool {
	u, err := url.Parse(strings.TrimPrefix(address, "node:"))
	return err == nil && u.User != nil
}

// readCertificates reads the file that a flag names; "": none.
func readCertificates(flag, file string) (pem []byte, certificates *x509.CertPool, err error) {
	if file == "" {
		return nil, nil, nil
	}
	if pem, err = readFile(file); err != nil {
		return nil, nil, usagef("%s: %w", flag, err)
	}
	certificates = x509.NewCertPool()
	if !certificates.AppendCertsFromPEM(pem) {
		return nil, nil, usagef("%s: %s holds no PEM certificate", flag, file)
	}
	return pem, certificates, nil
}

// proxyServeCmd runs a pool-proxy without Mesos.
type proxyServeCmd struct{}

// Run is called by execute.
func (proxyServeCmd) Run(env *environment, cmd *proxyCmd) error {
	defer env.serve()()
	config, err := cmd.config(env)
	if err != nil {
		return err
	}
	config.Logger = boundLog(config.Logger)
	memory.Obey()
	p, err := pool.New(config)
	if err != nil {
		return &usageError{err}
	}
	stop := notifyOnSignal(p.Notify)
	defer stop()
	if err := p.Run(env.ctx); err != nil {
		return err
	}
	config.Logger.Info("ended")
	return nil
}

// boundLog leaves out lines that come too often: strangers can bring some about without
// end.
func boundLog(log *slog.Logger) *slog.Logger {
	return slog.New(boundlog.NewHandler(log.Handler(), boundlog.Limits{Burst: 50}))
}

// proxyCheckCmd is `lode proxy check`.
type proxyCheckCmd struct{}

// Run is called by execute.
func (proxyCheckCmd) Run(env *environment, cmd *proxyCmd) error {
	config, err := cmd.config(env)
	if err != nil {
		return err
	}
	return tellFindings(env, pool.Check(env.ctx, config))
}

// tellFindings prints what a check found, and makes the exit code of it. One that was
// interrupted found nothing.
func tellFindings(env *environment, findings []pool.Finding) error {
	if env.ctx.Err() != nil {
		return context.Canceled
	}
	w := env.stdout
	bad := 0
	for _, f := range findings {
		if f.Err != nil {
			bad++
			fmt.Fprintf(w, "FAILED %s: %v\n", f.What, f.Err)
		} else {
			fmt.Fprintf(w, "ok     %s: %s\n", f.What, f.Detail)
		}
	}
	if bad > 0 {
		fmt.Fprintf(w, "%d of the checks failed\n", bad)
		return exitStatus(1)
	}
	return nil
}
