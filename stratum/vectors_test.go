package stratum

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// fromWire is the previous block of a job as mining.notify has it.
func fromWire(s string) chainhash.Hash { return swapWords(chainhash.Hash(unhex(s))) }

func mustHash(display string) chainhash.Hash {
	h, err := chainhash.NewHashFromStr(display)
	if err != nil {
		panic(err)
	}
	return *h
}

// simnetJob is height 1 of simnet, with version rolling.
func simnetJob() *Job {
	return &Job{
		ID: "4f1a", PrevBlock: fromWire("69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd"),
		Coinbase1: unhex("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c"),
		Coinbase2: unhex("092f6578616d706c652fffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000"),
		Version:   0x20000000, Bits: 0x207fffff, Time: 0x6553f100, Clean: true,
	}
}

// vector is a block that was mined: its job, the share that solved it, and what
// comes of them.
type vector struct {
	name                     string
	job                      *Job
	extranonce1, extranonce2 []byte
	share                    Share
	mask                     uint32
	hash                     string // display order
	header                   string
	shareDifficulty          float64 // 0: not known
	networkDifficulty        float64
}

func vectors() []vector {
	return []vector{
		{
			name: "mainnet genesis",
			job: &Job{
				ID:        "1",
				Coinbase1: unhex("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ffff001d"),
				Coinbase2: unhex("696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000"),
				Version:   1, Bits: 0x1d00ffff, Time: 0x495fab29, Clean: true,
			},
			extranonce1: unhex("01044554"), extranonce2: unhex("68652054"),
			share:             Share{Time: 0x495fab29, Nonce: 0x7c2bac1d},
			hash:              "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
			header:            "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c",
			shareDifficulty:   2536.4262984453103,
			networkDifficulty: 1,
		},
		{
			name: "testnet3 1263442",
			job: &Job{
				ID: "1", PrevBlock: fromWire("521a8d1c96a3399c34b22ddb2f15ecd587a251a6ccda6629b428e0bd00000000"),
				Coinbase1:    unhex("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff230352471300fe5f45765afe94690a000963676d696e6572343208"),
				Coinbase2:    unhex("00ffffffff024423a804000000001976a914f2c25ac3d59f3d674b1d1d0a25c27339aaac0ba688ac0000000000000000266a24aa21a9edcb26cb3052426b9ebb4d19c819ef87c19677bbf3a7c46ef0855bd1b2abe8349100000000"),
				MerkleBranch: []chainhash.Hash{chainhash.Hash(unhex("e0e03cc73169f0a7d4863fd1c12d3680006d3406fe1ced246d3d529905d4212c"))},
				Version:      0x20000000, Bits: 0x1d00dcad, Time: 0x5a76455f, Clean: true,
			},
			extranonce1: unhex("00000000"), extranonce2: unhex("00000000"),
			share:             Share{Time: 0x5a76455f, Nonce: 0x9a3b3338},
			hash:              "000000006f27ddfe1dd680044a34548f41bed47eba9e6f0b310da21423bc5f33",
			header:            "000000201c8d1a529c39a396db2db234d5ec152fa651a2872966daccbde028b400000000083f14492679151dbfaa1a825ef4c18518e780c1f91044180280a7d33f4a98ff5f45765aaddc001d38333b9a",
			shareDifficulty:   2.3030399894112277,
			networkDifficulty: 1.1600552280813552,
		},
		{
			name:        "simnet 1 with version rolling",
			job:         simnetJob(),
			extranonce1: unhex("a1b2c3d4"), extranonce2: unhex("0102030405060708"),
			share:             Share{Time: 0x6553f100, Nonce: 0x10015793, VersionBits: 0x00c0e000, HasVersionBits: true},
			mask:              DefaultVersionMask,
			hash:              "00004ab978371b91262b50df9b32276b57ce75bc970e10c9d679625222b07908",
			header:            "00e0c020f67ad7695d9b662a72ff3d8edbbb2de0bfa67b13974bb9910d116d5cbd863e68e47cdeaade6d883afe430070e5ea5f97c49df3174ce833232cf90350242126d100f15365ffff7f2093570110",
			shareDifficulty:   5.227456707361418e-05,
			networkDifficulty: 4.6565423739069247e-10,
		},
	}
}

// check holds a header against the vector.
func (v *vector) check(t *testing.T, header []byte) {
	t.Helper()
	if got := hex.EncodeToString(header); got != v.header {
		t.Errorf("header\n     %s\nwant %s", got, v.header)
	}
	hash := chainhash.DoubleHashH(header)
	if hash != mustHash(v.hash) {
		t.Errorf("hash %v, want %s", hash, v.hash)
	}
	if got := float64(HashDifficulty(hash)); got != v.shareDifficulty {
		t.Errorf("share difficulty %v, want %v", got, v.shareDifficulty)
	}
	network, err := TargetFromBits(v.job.Bits)
	if err != nil {
		t.Fatal(err)
	}
	if !network.MetBy(&hash) {
		t.Error("the hash is not below the network's target")
	}
	if got := float64(network.Difficulty()); got != v.networkDifficulty {
		t.Errorf("network difficulty %v, want %v", got, v.networkDifficulty)
	}
}

func TestVectorsThroughHeader(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			version, err := v.job.ShareVersion(v.mask, &v.share)
			if err != nil {
				t.Fatal(err)
			}
			h := v.job.Header(v.extranonce1, v.extranonce2, version, v.share.Time, v.share.Nonce)
			var b bytes.Buffer
			if err := h.Serialize(&b); err != nil {
				t.Fatal(err)
			}
			v.check(t, b.Bytes())
			if want := chainhash.Hash(unhex(v.header)[36:68]); h.MerkleRoot != want {
				t.Errorf("merkle root %v, want %v", h.MerkleRoot, want)
			}
			fast, _ := v.job.HeaderBytes(nil, v.extranonce1, v.extranonce2, version, v.share.Time, v.share.Nonce)
			v.check(t, fast[:])
		})
	}
}

// Block 125552, of which only the coinbase's id is at hand.
func TestVectorMainnet125552(t *testing.T) {
	coinbase := mustHash("51d37bdd871c9e1f4d5541be67a6ab625e32028744d7d4609d0c37747b40cd2d")
	j := Job{
		PrevBlock: fromWire("ab02cd818b9e567ee21793cddef299feb29ad444a41b85b8000008a300000000"),
		MerkleBranch: []chainhash.Hash{
			chainhash.Hash(unhex("a1e197f9312b514b906dade27abf255ab0a12e9e24c6d5d7d3f8418dda5dc260")),
			chainhash.Hash(unhex("5e996cc3307b11be5acab562575c583aba2f125ae82137bace5396db4b95aebf")),
		},
	}
	root := coinbase
	for _, sibling := range j.MerkleBranch {
		root = chainhash.DoubleHashH(append(append([]byte(nil), root[:]...), sibling[:]...))
	}
	if want := mustHash("2b12fcf1b09288fcaff797d71e950e71ae42b91e8bdb2304758dfcffc2b620e3"); root != want {
		t.Errorf("root %v, want %v", root, want)
	}
	var header []byte
	header = binary.LittleEndian.AppendUint32(header, 1)
	header = append(header, j.PrevBlock[:]...)
	header = append(header, root[:]...)
	for _, n := range []uint32{0x4dd7f5c7, 0x1a44b9f2, 0x9546a142} {
		header = binary.LittleEndian.AppendUint32(header, n)
	}
	const want = "0100000081cd02ab7e569e8bcd9317e2fe99f2de44d49ab2b8851ba4a308000000000000e320b6c2fffc8d750423db8b1eb942ae710e951ed797f7affc8892b0f1fc122bc7f5d74df2b9441a42a14695"
	if got := hex.EncodeToString(header); got != want {
		t.Errorf("header\n     %s\nwant %s", got, want)
	}
	if h := chainhash.DoubleHashH(header); h != mustHash("00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d") {
		t.Errorf("hash %v", h)
	}
	if wire := swapWords(j.PrevBlock); !bytes.HasSuffix(wire[:], make([]byte, 4)) {
		t.Errorf("previous block on the wire %x does not end in zeros", wire)
	}
}

// The same shares as lines of a miner: what Handler.Submit gets makes the header.
func TestVectorsThroughServer(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			headers := make(chan [80]byte, 1)
			_, addr := startServer(t, ServerOptions{}, &testPool{
				subscribe: func(*Conn, string) (Subscription, error) {
					return Subscription{"s1", v.extranonce1, len(v.extranonce2)}, nil
				},
				authorized: func(c *Conn) { c.Notify(EncodeJob(v.job)) },
				submit: func(c *Conn, s *Share) error {
					version, err := v.job.ShareVersion(c.VersionMask(), s)
					if err != nil {
						return err
					}
					header, _ := v.job.HeaderBytes(nil, v.extranonce1, s.Extranonce2, version, s.Time, s.Nonce)
					headers <- header
					return nil
				},
			})
			m := dialRaw(t, addr)
			bits := ""
			if v.share.HasVersionBits {
				m.send(configureLine)
				m.expect(configureReply)
				bits = fmt.Sprintf(`,"%08x"`, v.share.VersionBits)
			}
			m.send(subscribeLine)
			m.line()
			m.send(authorizeLine)
			m.expect(authorizeReply)
			if v.share.HasVersionBits {
				m.expect(maskLine)
			}
			if line := m.line() + "\n"; line != string(EncodeJob(v.job).Line()) {
				t.Errorf("notified %s", line)
			}
			m.send(fmt.Sprintf(`{"params":["me","%s","%x","%08x","%08x"%s],"method":"mining.submit","id":4}`+"\n",
				v.job.ID, v.extranonce2, v.share.Time, v.share.Nonce, bits))
			m.expect(submitReply)
			header := <-headers
			v.check(t, header[:])
		})
	}
}

// The same jobs as a pool sends them: the client reads back what was encoded.
func TestVectorsThroughNotify(t *testing.T) {
	for _, v := range vectors() {
		line := EncodeJob(v.job).Line()
		var m message
		if err := parseMessage(line, &m); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		j, err := parseJob(m.params)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if string(EncodeJob(j).Line()) != string(line) || j.PrevBlock != v.job.PrevBlock || j.Version != v.job.Version {
			t.Errorf("%s: read back as %+v", v.name, j)
		}
	}
	// As recorded: the form does not depend on our own encoder.
	const want = `{"id":null,"method":"mining.notify","params":["4f1a","69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd","01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c","092f6578616d706c652fffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000",[],"20000000","207fffff","6553f100",true]}` + "\n"
	if got := string(EncodeJob(simnetJob()).Line()); got != want {
		t.Errorf("encoded\n     %s want %s", got, want)
	}
}

func TestSwapWords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := chainhash.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		swapped := swapWords(h)
		if swapWords(swapped) != h {
			t.Fatalf("swapped twice: %v", h)
		}
		// Equivalently: the words of the display form in reverse order.
		display := reverse32(h)
		for i := range 8 {
			if !bytes.Equal(swapped[4*i:4*i+4], display[28-4*i:32-4*i]) {
				t.Fatalf("word %d of %x is not that of %x", i, swapped, display)
			}
		}
	})
}

func TestShareVersion(t *testing.T) {
	for _, c := range []struct {
		name          string
		version, mask uint32
		share         Share
		want          uint32
		refused       bool
	}{
		{"none", 0x20000000, DefaultVersionMask, Share{}, 0x20000000, false},
		{"zero without rolling", 0x20000000, 0, Share{HasVersionBits: true}, 0x20000000, false},
		{"inside", 0x20000000, DefaultVersionMask, Share{VersionBits: 0x00c0e000, HasVersionBits: true}, 0x20c0e000, false},
		{"all", 0x20000000, DefaultVersionMask, Share{VersionBits: DefaultVersionMask, HasVersionBits: true}, 0x3fffe000, false},
		{"outside", 0x20000000, DefaultVersionMask, Share{VersionBits: 0x40000000, HasVersionBits: true}, 0, true},
		{"half of those outside", 0x60000000, DefaultVersionMask, Share{VersionBits: 0x2000e000, HasVersionBits: true}, 0, true},
		{"the whole version", 0x20000004, DefaultVersionMask, Share{VersionBits: 0x20c0e004, HasVersionBits: true}, 0x20c0e004, false},
		{"the whole version without rolling", 0x20000000, 0, Share{VersionBits: 0x20000000, HasVersionBits: true}, 0x20000000, false},
		{"without rolling", 0x20000000, 0, Share{VersionBits: 0x2000, HasVersionBits: true}, 0, true},
		{"job with bits in the mask", 0x30400000, DefaultVersionMask, Share{VersionBits: 0x10402000, HasVersionBits: true}, 0x30402000, false},
	} {
		j := Job{Version: c.version}
		got, err := j.ShareVersion(c.mask, &c.share)
		if (err != nil) != c.refused || got != c.want {
			t.Errorf("%s: %08x, %v", c.name, got, err)
		}
	}
}

func TestHeaderBytesDoesNotAllocate(t *testing.T) {
	v := vectors()[1]
	scratch := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		_, scratch = v.job.HeaderBytes(scratch, v.extranonce1, v.extranonce2, 1, 2, 3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, time.Hour} {
		h.Observe(d)
	}
	buckets, count, sum := h.Snapshot()
	if count != 4 || sum != time.Hour+4*time.Millisecond {
		t.Errorf("%d durations of %v", count, sum)
	}
	for _, b := range buckets {
		want := uint64(1)
		switch {
		case b.UpTo >= 5*time.Millisecond:
			want = 3
		case b.UpTo >= time.Millisecond:
			want = 2
		}
		if b.Count != want {
			t.Errorf("%d up to %v, want %d", b.Count, b.UpTo, want)
		}
	}
}
