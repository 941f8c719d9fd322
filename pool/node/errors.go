package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"lode/stratum"
)

// Conditions of a node that callers tell apart, found with errors.Is.
var (
	ErrUnauthorized = errors.New("the node refused user or password")
	ErrForbidden    = errors.New("the node forbids the call")
	ErrBusy         = errors.New("the node is too busy")
	ErrUnreachable  = errors.New("the node cannot be reached")
	// ErrNotReady is a node that starts, has no peers, or is syncing: wait.
	ErrNotReady = errors.New("the node is not ready")
	// ErrUnknownBlock is a block that the node does not have.
	ErrUnknownBlock = errors.New("the node does not know the block")
	// ErrNoMethod is a call that the node does not have.
	ErrNoMethod = errors.New("the node does not have the call")
)

// RPCError is the error member of a reply.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *RPCError) Error() string {
	message := firstLine([]byte(e.Message))
	switch {
	case e.Code == 0: // it was words alone
		return message
	case e.Code == -9 && e.Message != "Shutting down": // Bitcoin Core has one code for both
		return fmt.Sprintf("%s (%d): give the node a peer", message, e.Code)
	case e.Code == -10:
		return fmt.Sprintf("%s (%d): wait until it is synced", message, e.Code)
	default:
		return fmt.Sprintf("%s (%d)", message, e.Code)
	}
}

// Is makes the codes that matter comparable with the sentinels above.
func (e *RPCError) Is(target error) bool {
	switch target {
	case ErrNotReady:
		return e.Code == -9 || e.Code == -10 || e.Code == -28
	case ErrUnknownBlock:
		return e.Code == -5 || e.Code == -1 && strings.HasPrefix(e.Message, "Block not found") // bcoin
	case ErrNoMethod:
		// btcd answers "Command unimplemented" with -1 for what only Core has.
		return e.Code == -32601 || e.Code == -1 && e.Message == "Command unimplemented"
	}
	return false
}

// transportError says what to do about a failed request. The URL that net/http
// repeats in its errors is dropped: the caller names the node.
func transportError(ctx context.Context, err error) error {
	var (
		record  tls.RecordHeaderError
		timeout net.Error
	)
	var inner error = err
	if e := errors.Unwrap(err); e != nil {
		inner = e
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op != "dial" { // its words have our port, another one each time
		inner = op.Err
	}
	if fault, ok := stratum.CertificateFault(err, "the node's CA (rpc.cert of btcd)"); ok {
		return fmt.Errorf("%w: %s", ErrUnreachable, fault)
	}
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: connection refused: is it running, and is this its RPC address?", ErrUnreachable)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: it does not speak TLS: write http:// in its address", ErrUnreachable)
	case strings.Contains(err.Error(), "malformed HTTP"):
		return fmt.Errorf("%w: it does not speak HTTP: is this the address of its RPC server? (%v)", ErrUnreachable, inner)
	case strings.Contains(err.Error(), "readLoopPeekFailLocked"): // net/http's word for an answer before the question
		return fmt.Errorf("%w: it does not speak HTTP, but speaks first: is this the address of its RPC server?", ErrUnreachable)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: no answer in time", ErrUnreachable)
	default:
		return fmt.Errorf("%w: %v", ErrUnreachable, inner)
	}
}
