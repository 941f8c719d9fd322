package stratum

import (
	"encoding/hex"
	"sync"
)

// transactions answers mining.get_transactions from what was made of recent jobs, so
// that a block's worth of transactions is taken apart once for each job, whoever asks
// and however often.
type transactions struct {
	mu     sync.Mutex // held while a reply is made, so that it is made once
	recent []jobTransactions
}

// jobTransactions is the result, raw JSON, for a job; "": there are too many.
type jobTransactions struct{ job, result string }

// maxTransactionJobs is how many jobs' results are kept.
const maxTransactionJobs = 4

// result is that for a job, of at most limit bytes.
func (t *transactions) result(job string, limit int, get func() ([][]byte, error)) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.recent {
		if r.job == job {
			return r.result, nil
		}
	}
	list, err := get()
	if err != nil {
		return "", err
	}
	if len(t.recent) == maxTransactionJobs {
		t.recent = append(t.recent[:0], t.recent[1:]...)
	}
	t.recent = append(t.recent, jobTransactions{job, encodeTransactions(list, limit)})
	return t.recent[len(t.recent)-1].result, nil
}

func encodeTransactions(list [][]byte, limit int) string {
	size := 2
	for _, tx := range list {
		size += 2*len(tx) + 3
	}
	if size > limit {
		return ""
	}
	b := append(make([]byte, 0, size), '[')
	for i, tx := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, tx)
		b = append(b, '"')
	}
	return string(append(b, ']'))
}

func (c *Conn) transactions(m *message) {
	params := arrayOf(m.params)
	job, ok := text(params.next())
	switch {
	case !ok || len(job) > maxJobID:
		c.reply(m.id, falseNever, errParams)
		return
	case !c.server.opts.ServeTransactions:
		c.reply(m.id, falseNever, errNoTransactions)
		return
	case !c.isReady:
		c.reply(m.id, falseNever, errUnauthorized)
		return
	case !wantsReply(m.id):
		return
	}
	id := c.server.jobIDs.intern(job)
	// A block's worth of hexadecimal digits for each job and miner is nobody's gain.
	result, err := c.server.transactions.result(id, MaxTransactions, func() ([][]byte, error) {
		return c.server.handler.Transactions(c, id)
	})
	switch {
	case err != nil:
		c.reply(m.id, falseNever, err)
	case result == "":
		c.reply(m.id, falseNever, errNoTransactions)
	default:
		c.replyRaw(m.id, result)
	}
}

// MaxTransactions is the greatest reply to mining.get_transactions, bytes.
const MaxTransactions = 64 << 10
