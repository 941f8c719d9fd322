package message_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/gogo/protobuf/proto"
	"pgregory.net/rapid"

	"lode/message"
)

func hello(task string) *message.ToScheduler {
	return &message.ToScheduler{
		Version: message.Version, TaskId: task, Event: &message.ToScheduler_Hello{Hello: &message.Hello{ExecutorDigest: "d"}},
	}
}

func list(epoch uint64) *message.ToExecutor {
	return &message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{Epoch: epoch}}}
}

func TestLaunchKeys(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, message.KeySize)
	one := message.NewLaunchKeys(secret, "F").Of("miner-1")
	if len(one) != message.KeySize || !bytes.Equal(one, message.NewLaunchKeys(secret, "F").Of("miner-1")) {
		t.Error("a scheduler that was restarted would not know the key again")
	}
	if want, err := hkdf.Key(sha256.New, secret, []byte("F"), "lode launch miner-1", message.KeySize); err != nil || !bytes.Equal(one, want) {
		t.Errorf("%x, want %x by HKDF (%v)", one, want, err)
	}
	for name, other := range map[string][]byte{
		"another task":      message.NewLaunchKeys(secret, "F").Of("miner-2"),
		"another framework": message.NewLaunchKeys(secret, "G").Of("miner-1"),
		"another secret":    message.NewLaunchKeys(bytes.Repeat([]byte{2}, message.KeySize), "F").Of("miner-1"),
	} {
		if bytes.Equal(one, other) {
			t.Errorf("%s has the same key", name)
		}
	}
}

// What a message carries is what crypto/hmac makes of it.
func TestEnvelopesCarryHMAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), message.KeySize, message.KeySize).Draw(t, "key")
		session := rapid.Uint64().Draw(t, "session")
		sealed, err := message.ExecutorEnd(key, session).Seal(hello(rapid.StringN(0, 300, 300).Draw(t, "task")))
		if err != nil {
			t.Fatal(err)
		}
		var e message.Envelope
		if err := e.Unmarshal(sealed); err != nil {
			t.Fatal(err)
		}
		direction, err := hkdf.Expand(sha256.New, key, "lode to scheduler", message.KeySize)
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, direction)
		mac.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, session), 1))
		mac.Write(e.Body)
		if want := mac.Sum(nil); e.Session != session || e.Counter != 1 || !bytes.Equal(e.Mac, want) {
			t.Fatalf("session %d, counter %d, mac %x, want %x", e.Session, e.Counter, e.Mac, want)
		}
	})
}

// A message is taken once, however the network doubles and reorders it, and none is
// lost that is not far behind.
func TestEachMessageIsTakenOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := bytes.Repeat([]byte{3}, message.KeySize)
		from, to := message.ExecutorEnd(key, 7), message.SchedulerEnd(key, 7)
		n := rapid.IntRange(1, 1500).Draw(t, "messages")
		sealed := make([][]byte, n)
		for i := range sealed {
			var err error
			if sealed[i], err = from.Seal(hello("t")); err != nil {
				t.Fatal(err)
			}
		}
		taken := make([]bool, n)
		newest := -1
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			_, err := to.OpenToScheduler(sealed[i])
			switch {
			case err == nil && taken[i]:
				t.Fatalf("message %d is taken twice", i)
			case err != nil && !errors.Is(err, message.ErrReplayed):
				t.Fatal(err)
			case err != nil && !taken[i] && newest-i < 256:
				t.Fatalf("message %d is lost; the newest is %d", i, newest)
			case err == nil:
				taken[i] = true
				newest = max(newest, i)
			}
		}
	})
}

func TestSessions(t *testing.T) {
	key := bytes.Repeat([]byte{3}, message.KeySize)
	executor, old := message.ExecutorEnd(key, 1), message.SchedulerEnd(key, 1)
	seal := func(end *message.Sealer, m proto.Message) []byte {
		b, err := end.Seal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, late := seal(executor, hello("t")), seal(old, list(1))
	restarted := message.SchedulerEnd(key, 2)
	if _, err := restarted.OpenToScheduler(before); !errors.Is(err, message.ErrSession) {
		t.Errorf("a message of before is taken: %v", err)
	}
	if m, err := executor.OpenToExecutor(seal(restarted, list(2))); err != nil || m.GetProxies().Epoch != 2 || executor.Session() != 2 {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := executor.OpenToExecutor(late); !errors.Is(err, message.ErrSession) {
		t.Errorf("a message of the scheduler of before is taken: %v", err)
	}
	if m, err := restarted.OpenToScheduler(seal(executor, hello("t"))); err != nil || m.TaskId != "t" {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := executor.OpenToExecutor(seal(executor, hello("t"))); !errors.Is(err, message.ErrForged) {
		t.Errorf("a message comes back and is taken: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	key, err := message.NewSecretsKey()
	if err != nil {
		t.Fatal(err)
	}
	want := &message.Secrets{WorkerKey: []byte("key"), Upstreams: map[string]*message.Credentials{"u": {Password: "hunter2"}}}
	sealed, err := message.SealSecrets(key.PublicKey().Bytes(), "proxy-1", want)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Error("the password can be read")
	}
	if got, err := message.OpenSecrets(key, "proxy-1", sealed); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	other, err := message.NewSecretsKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := message.OpenSecrets(other, "proxy-1", sealed); err == nil {
		t.Error("another key opens it")
	}
	if _, err := message.OpenSecrets(key, "proxy-2", sealed); err == nil {
		t.Error("secrets of another task are taken")
	}
	for _, bad := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		if _, err := message.SealSecrets(bad, "proxy-1", want); err == nil {
			t.Errorf("sealed to the key %x", bad)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	key := bytes.Repeat([]byte{3}, message.KeySize)
	genuine, err := message.ExecutorEnd(key, 1).Seal(hello("t"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add([]byte{8, message.Version})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e message.Envelope
		m, err := message.SchedulerEnd(key, 1).OpenToScheduler(b)
		if err == nil && (e.Unmarshal(b) != nil || e.Counter != 1 || m.TaskId != "t") {
			t.Errorf("%x is taken: %v", b, m)
		}
		if _, err := message.ExecutorEnd(key, 1).OpenToExecutor(b); err == nil {
			t.Errorf("%x is taken by an executor", b)
		}
	})
}
