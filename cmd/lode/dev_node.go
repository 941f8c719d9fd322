package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"lode/load/fakenode"
)

// devNodeCmd is `lode dev-node`.
type devNodeCmd struct {
	Listen       string        `help:"Address for JSON-RPC; any user and password will do." default:"127.0.0.1:18443" placeholder:"HOST:PORT"`
	Transactions int           `help:"Transactions of a template." default:"4000" placeholder:"N"`
	Bytes        int           `help:"Length of a template, about." default:"4000000" placeholder:"N"`
	Refresh      time.Duration `help:"Time until a tenth of the transactions are others." default:"30s" placeholder:"DURATION"`
	Block        time.Duration `help:"Time between two blocks of the network." default:"30m" placeholder:"DURATION"`
	Bits         string        `help:"Target of blocks." default:"1d00ffff" placeholder:"HEX"`
}

// Help is shown by lode dev-node --help.
func (devNodeCmd) Help() string {
	return `Answers like a Bitcoin Core on regtest whose blocks are full, to put load on a pool-proxy. It validates nothing: what it is paid in is worth nothing.

  lode dev-node --refresh 3s &
  lode proxy --upstream node:http://u:p@127.0.0.1:18443 --payout-address bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080 --state-dir state &
  lode load --pool stratum+tcp://127.0.0.1:3333 --user me --connections 10000 --ramp 30s --shares 2500 --duration 10m --watch $!`
}

// Bounds of a template, many times those of a real one.
const (
	mostTransactions = 100_000
	mostTemplate     = 64 << 20 // bytes
)

// Run is called by execute.
func (cmd *devNodeCmd) Run(env *environment) error {
	bits, err := strconv.ParseUint(cmd.Bits, 16, 32)
	if err != nil || bits == 0 || len(cmd.Bits) != 8 {
		return usagef("--bits=%s: want 8 hexadecimal digits, such as 1d00ffff", cmd.Bits)
	}
	if cmd.Refresh <= 0 || cmd.Block <= 0 {
		return usagef("--refresh=%v, --block=%v: want more than 0", cmd.Refresh, cmd.Block)
	}
	switch {
	case cmd.Transactions > mostTransactions:
		return usagef("--transactions=%d: want at most %d", cmd.Transactions, mostTransactions)
	case cmd.Bytes > mostTemplate:
		return usagef("--bytes=%d: want at most %d", cmd.Bytes, mostTemplate)
	}
	if cmd.Transactions == 0 {
		cmd.Transactions = -1
	}
	l, err := net.Listen("tcp", cmd.Listen)
	if err != nil {
		return takenPort("--listen", cmd.Listen, err)
	}
	node := fakenode.New(fakenode.Options{Transactions: cmd.Transactions, Bytes: cmd.Bytes, Refresh: cmd.Refresh, Block: cmd.Block, Bits: uint32(bits)})
	server := &http.Server{Handler: node, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(env.ctx, func() { _ = server.Close() })()
	env.log.Info("answering as a node with full blocks", "address", l.Addr().String())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	env.log.Info("ended")
	return nil
}
