package stratum

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestClientMinesAtServer(t *testing.T) {
	job := simnetJob()
	job.Time = uint32(time.Now().Unix())
	shares := make(chan Share, 1)
	server, addr := startServer(t, ServerOptions{}, &testPool{
		authorized: func(c *Conn) {
			c.SetDifficulty(0.25)
			c.Notify(EncodeJob(job))
		},
		submit: func(_ *Conn, s *Share) error {
			if s.Nonce == 7 {
				return &Error{CodeLowDifficulty, "too easy"}
			}
			copied := *s
			copied.Extranonce2 = append([]byte(nil), s.Extranonce2...)
			shares <- copied
			return nil
		},
	})
	client, err := NewClient(ClientOptions{URL: "stratum+tcp://" + addr, User: "me.rig", Password: "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- client.Run(ctx) }()

	a := <-client.Assignments()
	if a.Job == nil || a.Job.ID != job.ID || a.Difficulty != 0.25 || a.VersionMask != DefaultVersionMask || a.Extranonce2Size != 8 {
		t.Fatalf("assignment %+v", a)
	}
	if err := client.Submit(ctx, a, []byte{1, 2, 3, 4, 5, 6, 7, 8}, job.Time, 0x10015793, 0x20c0e000); err != nil {
		t.Fatal(err)
	}
	s := <-shares
	if s.Worker != "me.rig" || s.JobID != job.ID || !s.HasVersionBits || s.VersionBits != 0xc0e000 || s.Nonce != 0x10015793 {
		t.Fatalf("share %+v", s)
	}
	var refusal *Error
	if err := client.Submit(ctx, a, make([]byte, 8), job.Time, 7, 0x20000000); !errors.As(err, &refusal) || refusal.Code != CodeLowDifficulty {
		t.Fatalf("refused share: %v", err)
	}
	second := *job
	second.ID = "next"
	server.Broadcast(EncodeJob(&second), nil)
	if a := <-client.Assignments(); a.Job.ID != "next" {
		t.Fatalf("assignment %+v", a)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if a := <-client.Assignments(); a.Job != nil {
		t.Fatalf("still work after the end: %+v", a)
	}
}
