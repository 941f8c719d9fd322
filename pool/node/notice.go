package node

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"lode/internal/sleep"
	"lode/pool/node/zmtp"
)

// Pace of the notice channels.
const (
	noticeRetryMin = time.Second
	noticeRetryMax = 30 * time.Second
	pingInterval   = 20 * time.Second
	// maxNotice bounds a message of btcd's websocket: a notice has a hash and two numbers.
	// Those that come faster than noticeRate a second, noticeBurst at once, are read later.
	maxNotice   = 64 << 10
	noticeRate  = 100
	noticeBurst = 1000
)

// listen keeps the node's notice channel open: ZMQ where configured, the websocket
// of btcd, nothing else.
func (n *Node) listen(ctx context.Context) {
	pause := noticeRetryMin
	warned := false
	for ctx.Err() == nil {
		started := time.Now()
		err := n.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = noticeRetryMax // the node has no such channel, but may be exchanged
		} else {
			if time.Since(started) > noticeRetryMax {
				pause, warned = noticeRetryMin, false
			}
			level := slog.LevelDebug
			if n.zmq != "" && !warned { // somebody set it up
				level, warned = slog.LevelWarn, true
			}
			n.log.Log(ctx, level, "no notices of new blocks; they are found by longpoll and by asking each second", "error", err)
		}
		_ = sleep.For(ctx, pause)
		pause = min(2*pause, noticeRetryMax)
	}
}

func (n *Node) listenOnce(ctx context.Context) error {
	if n.zmq != "" {
		return zmtp.Subscribe(ctx, n.zmq, "hashblock", func([][]byte) { n.Notify() })
	}
	id, err := n.Identify(ctx)
	if err != nil {
		return err
	}
	if !id.Btcd {
		return nil
	}
	return n.listenWebsocket(ctx)
}

// listenWebsocket subscribes to btcd's notifyblocks and reads until the link fails.
func (n *Node) listenWebsocket(ctx context.Context) error {
	user, password, err := n.rpc.login(false)
	if err != nil {
		return err
	}
	header := http.Header{}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.roots, MinVersion: tls.VersionTLS12}, MaxResponseHeaderBytes: maxHeader}
	defer transport.CloseIdleConnections()
	dialCtx, cancelDial := context.WithTimeout(ctx, templateTimeout)
	defer cancelDial()
	conn, response, err := websocket.Dial(dialCtx, n.wsURL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: stay}, // nobody else is told the password
		HTTPHeader: header,
	})
	if response != nil && response.Body != nil {
		defer func() { _ = response.Body.Close() }()
	}
	if err != nil {
		return fmt.Errorf("websocket of %s: %w", n.URL(), transportError(ctx, err))
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxNotice)
	request := []byte(`{"jsonrpc":"1.0","id":1,"method":"notifyblocks","params":[]}`)
	if err := conn.Write(ctx, websocket.MessageText, request); err != nil {
		return fmt.Errorf("websocket of %s: %w", n.URL(), err)
	}

	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { // pings notice a half-open link; the reader below sees the cancellation
		defer close(done)
		defer cancel()
		for {
			_ = sleep.For(ctx, pingInterval)
			pingCtx, cancelPing := context.WithTimeout(ctx, pingInterval)
			err := conn.Ping(pingCtx)
			cancelPing()
			if err != nil {
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	flow := pace(noticeBurst, time.Second/noticeRate)
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("websocket of %s: %w", n.URL(), err)
		}
		_ = flow.Wait(ctx)
		var message struct {
			Method string `json:"method"`
		}
		if json.Unmarshal(text, &message) == nil && (message.Method == "blockconnected" || message.Method == "blockdisconnected") {
			n.Notify()
		}
	}
}
