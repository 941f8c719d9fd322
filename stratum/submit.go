package stratum

import (
	"context"
	"encoding/json"
)

// Submit hands in a share of a and waits for the pool's verdict: nil, a *Error, or
// an error that says why there is none. version is the complete header version.
func (s *Session) Submit(ctx context.Context, a Assignment, extranonce2 []byte, ntime, nonce, version uint32) error {
	return s.SubmitShare(ctx, a.share(s.opts.User, extranonce2, ntime, nonce, version))
}

// SubmitAsync hands in a share of a without waiting: see SubmitShareAsync.
func (s *Session) SubmitAsync(a Assignment, extranonce2 []byte, ntime, nonce, version uint32, done func(error)) error {
	return s.SubmitShareAsync(a.share(s.opts.User, extranonce2, ntime, nonce, version), done)
}

func (a *Assignment) share(worker string, extranonce2 []byte, ntime, nonce, version uint32) *Share {
	share := &Share{
		Worker: worker, Extranonce2: extranonce2, Time: ntime, Nonce: nonce,
		VersionBits: version&a.VersionMask | a.fixed, HasVersionBits: a.VersionMask|a.fixed != 0,
	}
	if a.Job != nil {
		share.JobID = a.Job.ID
	}
	return share
}

// SubmitShare hands in a share and waits for the verdict: see Submit.
func (s *Session) SubmitShare(ctx context.Context, share *Share) error {
	verdict := make(chan error, 1)
	if err := s.SubmitShareAsync(share, func(err error) { verdict <- err }); err != nil {
		return err
	}
	select {
	case err := <-verdict:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SubmitShareAsync hands in a share, of which VersionBits are those of the
// assignment's VersionMask. done is called with the verdict (see Submit) by a
// goroutine that it must not block. If there is an error, done is not called.
func (s *Session) SubmitShareAsync(share *Share, done func(error)) error {
	s.mu.Lock()
	rolls, fixed, bare := s.mask != 0, s.fixedBits[share.JobID], s.bareIDs
	s.mu.Unlock()
	full := *share
	full.bareID = bare && full.JobID != "" && full.JobID[0] <= '9' && json.Valid([]byte(full.JobID))
	full.VersionBits |= fixed
	full.HasVersionBits = rolls || fixed != 0 || share.HasVersionBits
	return s.request("mining.submit", full.appendParams(make([]byte, 0, 128)), func(result []byte, err error) {
		if err == nil {
			err = isTrue(result)
		}
		done(err)
	})
}
