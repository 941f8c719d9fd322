// Package zmtp subscribes to a ZeroMQ publisher: ZMTP 3.0 (ZeroMQ RFC 23), socket type
// SUB, mechanism NULL, which is what Bitcoin Core's notifications need.
//
// Whatever the other side sends, memory and time stay bounded.
package zmtp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what a publisher may send. A hashblock message has parts of 9, 32 and 4 bytes.
const (
	maxFrame = 1 << 10
	maxParts = 8
	// patience bounds dialing, the handshake, and each message once it has begun.
	patience = 10 * time.Second
	// Frames that come faster than flowRate a second, flowBurst at once, are read later: a
	// block is three.
	flowRate  = 1000
	flowBurst = 10_000
)

const (
	greetingSize = 64
	// Flags of a frame.
	flagMore, flagLong, flagCommand = 1, 2, 4
)

// Subscribe calls each for each message whose first part begins with the topic, until
// ctx ends or the connection fails. address is tcp://host:port or ipc:///path. The parts
// are each's for the time of its call.
func Subscribe(ctx context.Context, address, topic string, each func(parts [][]byte)) error {
	network, where, ok := strings.Cut(address, "://")
	switch {
	case ok && network == "tcp":
	case ok && network == "ipc":
		network = "unix"
	default:
		return fmt.Errorf("ZMQ address %q: want tcp://host:port or ipc:///path", address)
	}
	dialer := net.Dialer{
		Timeout:         patience,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	conn, err := dialer.DialContext(ctx, network, where)
	if err != nil {
		return fmt.Errorf("ZMQ publisher %s: %w", address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	err = subscribe(conn, topic, each)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("ZMQ publisher %s: %w", address, err)
}

// stream is what is needed of a connection.
type stream interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}

// subscriber is one connection after the handshake.
type subscriber struct {
	stream
	r    *bufio.Reader
	flow *rate.Limiter
	size [8]byte
}

// subscribe does all on a new connection. It ends with an error.
func subscribe(s stream, topic string, each func(parts [][]byte)) error {
	c := &subscriber{stream: s, r: bufio.NewReaderSize(s, 2*maxFrame), flow: rate.NewLimiter(flowRate, flowBurst)}
	_ = s.SetDeadline(time.Now().Add(patience))
	if err := c.handshake(topic); err != nil {
		return err
	}
	var parts [][]byte
	for {
		if len(parts) == 0 {
			if err := c.wait(); err != nil {
				return err
			}
		}
		flags, body, err := c.frame()
		switch {
		case err != nil:
			return err
		case flags&flagCommand != 0:
			if err := c.command(body); err != nil {
				return err
			}
			continue
		}
		if parts = append(parts, body); len(parts) > maxParts {
			return fmt.Errorf("a message of more than %d parts: this is no publisher of hashblock", maxParts)
		}
		if flags&flagMore == 0 {
			if bytes.HasPrefix(parts[0], []byte(topic)) {
				each(parts)
			}
			parts = nil
		}
	}
}

// wait waits for the next message, as long as it takes, and sets the time for the rest.
func (c *subscriber) wait() error {
	_ = c.SetDeadline(time.Time{})
	_, err := c.r.Peek(1)
	_ = c.SetDeadline(time.Now().Add(patience))
	return err
}

// greeting is ours: signature, version 3.0, mechanism NULL, no server.
func greeting() []byte {
	b := make([]byte, greetingSize)
	copy(b, "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL")
	return b
}

func (c *subscriber) handshake(topic string) error {
	if _, err := c.Write(greeting()); err != nil {
		return err
	}
	theirs := make([]byte, greetingSize)
	if _, err := io.ReadFull(c.r, theirs[:11]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if theirs[0] != 0xff || theirs[9]&1 == 0 || theirs[10] < 3 {
		return fmt.Errorf("greeting %x: it does not speak ZMTP 3: is this the address of zmqpubhashblock?", theirs[:11])
	}
	if _, err := io.ReadFull(c.r, theirs[11:]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if mechanism := string(bytes.TrimRight(theirs[12:32], "\x00")); mechanism != "NULL" {
		return fmt.Errorf("it wants security mechanism %.20q, only NULL is spoken", mechanism)
	}
	if err := c.write(flagCommand, []byte("\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")); err != nil {
		return err
	}
	for {
		flags, body, err := c.frame()
		if err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		switch {
		case flags&flagCommand != 0 && bytes.HasPrefix(body, []byte("\x05READY")):
			return c.write(0, append([]byte{1}, topic...))
		case flags&flagCommand != 0 && bytes.HasPrefix(body, []byte("\x05ERROR")):
			return fmt.Errorf("it refuses the connection: %.64q", body[6:])
		case flags&flagCommand == 0:
			return errors.New("it sends a message before READY")
		}
	}
}

// frame reads the next one.
func (c *subscriber) frame() (flags byte, body []byte, err error) {
	time.Sleep(c.flow.Reserve().Delay())
	if flags, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return 0, nil, fmt.Errorf("a frame with flags %02x", flags)
	}
	size := c.size[:1]
	if flags&flagLong != 0 {
		size = c.size[:]
	}
	if _, err := io.ReadFull(c.r, size); err != nil {
		return 0, nil, err
	}
	length := uint64(size[0])
	if flags&flagLong != 0 {
		length = binary.BigEndian.Uint64(size)
	}
	if length > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes: a publisher of hashblock sends none above %d", length, maxFrame)
	}
	body = make([]byte, length)
	_, err = io.ReadFull(c.r, body)
	return flags, body, err
}

// command answers to a heartbeat; no other command matters.
func (c *subscriber) command(body []byte) error {
	if text, isPing := bytes.CutPrefix(body, []byte("\x04PING")); isPing && len(text) >= 2 && len(text) <= 2+16 {
		return c.write(flagCommand, append([]byte("\x04PONG"), text[2:]...))
	}
	return nil
}

// write sends a frame of at most 255 bytes.
func (c *subscriber) write(flags byte, body []byte) error {
	_, err := c.Write(append([]byte{flags, byte(len(body))}, body...))
	return err
}
