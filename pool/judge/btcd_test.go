package judge_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"
	"pgregory.net/rapid"

	"lode/pool/jobs"
	"lode/pool/judge"
	"lode/pool/share"
	"lode/pool/template"
	"lode/stratum"
)

// candidates is the origin of a node's template.
type candidates struct{ template *template.Template }

func (c candidates) Make(size int, key jobs.Key) (template.Work, error) {
	return template.New(c.template, template.Options{
		PayoutScript: append([]byte{0x00, 0x14}, make([]byte, 20)...), ExtranonceSize: size, Tag: []byte("/test/"), Instance: []byte(key.ID()),
	})
}
func (c candidates) OwnCoinbase() bool               { return true }
func (c candidates) CapDifficulty(d float64) float64 { return d }

// drawTemplate is a node's template with transactions that make sense.
func drawTemplate(r *rapid.T, bits string) *template.Template {
	type entry struct {
		Data string `json:"data"`
		TxID string `json:"txid"`
	}
	txs := []entry{}
	for i := range rapid.IntRange(0, 9).Draw(r, "transactions") {
		tx := wire.NewMsgTx(2)
		tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Hash: chainhash.Hash{1, byte(i)}, Index: rapid.Uint32Range(0, 9).Draw(r, "output")}, []byte{0x51}, nil))
		tx.AddTxOut(wire.NewTxOut(rapid.Int64Range(0, 1e8).Draw(r, "value"), []byte{0x51}))
		var raw bytes.Buffer
		if err := tx.Serialize(&raw); err != nil {
			r.Fatal(err)
		}
		txs = append(txs, entry{hex.EncodeToString(raw.Bytes()), tx.TxHash().String()})
	}
	reply, err := json.Marshal(map[string]any{
		"version": 0x20000000, "previousblockhash": chainhash.Hash{7}.String(), "transactions": txs, "coinbasevalue": 50e8,
		"curtime": 1_700_000_000, "mintime": 1_699_999_000, "bits": bits, "height": rapid.IntRange(1, 1<<22).Draw(r, "height"),
	})
	if err != nil {
		r.Fatal(err)
	}
	t, err := template.Parse(reply)
	if err != nil {
		r.Fatal(err)
	}
	return t
}

// TestBlocksOfBtcd: what is judged to be a block is one by btcd's own validation, what is
// not is refused there for its proof of work, and shares are worth what their hashes are.
func TestBlocksOfBtcd(t *testing.T) {
	params := &chaincfg.RegressionNetParams
	work := new(big.Float).SetMantExp(big.NewFloat(1), 224) // of a hash of 1, as the most generous count
	rapid.Check(t, func(r *rapid.T) {
		bits := rapid.SampledFrom([]string{"207fffff", "203fffff", "200fffff", "1f00ffff"}).Draw(r, "bits")
		tpl := drawTemplate(r, bits)
		network, err := stratum.TargetFromBits(tpl.Bits)
		if err != nil {
			r.Fatal(err)
		}
		now := time.Unix(1_700_000_000, 0)
		mask := rapid.SampledFrom([]uint32{0, stratum.DefaultVersionMask, stratum.WideVersionMask}).Draw(r, "mask")
		j := jobs.NewTable(0, 0).Add(now, &jobs.Work{
			Prev: tpl.PreviousHash, Height: tpl.Height, Bits: tpl.Bits, Network: network, NetworkDifficulty: float64(network.Difficulty()),
			Version: tpl.Version &^ mask, Mask: mask, Time: tpl.CurrentTime, MinTime: tpl.MinTime, Origin: candidates{tpl},
		}, true)
		e1 := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(r, "extranonce1")
		e2 := rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(r, "extranonce2")
		edition := rapid.IntRange(0, jobs.Editions-1).Draw(r, "edition")
		difficulty := math.Pow(10, rapid.Float64Range(-11, -3).Draw(r, "difficulty"))
		shares := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) stratum.Share {
			return stratum.Share{
				Extranonce2: e2, Nonce: rapid.Uint32().Draw(r, "nonce"),
				Time:        rapid.Uint32Range(tpl.MinTime, tpl.CurrentTime+7000).Draw(r, "time"),
				VersionBits: rapid.Uint32().Draw(r, "version") & mask, HasVersionBits: mask != 0,
			}
		}), 1, judge.Together).Draw(r, "shares")
		seen := share.NewSeen(0)
		var scratch judge.Scratch
		for i := range shares {
			a := &scratch.Attempts[i]
			*a = judge.Attempt{In: &shares[i], Job: j, Key: j.Key(edition), Extranonce1: e1, Rest: len(e2), Difficulty: difficulty, Seen: seen}
			a.Admit()
		}
		scratch.Hash(len(shares))
		for i := range shares {
			a := &scratch.Attempts[i]
			first := true
			for k := range i {
				first = first && scratch.Attempts[k].Hash != a.Hash
			}
			a.Judge(now, judge.Rules{Working: true})
			raw := a.Variant.Work.Solve(a.Header, append(append([]byte(nil), e1...), e2...))
			block, err := btcutil.NewBlockFromBytes(raw)
			if err != nil {
				r.Fatalf("share %d: btcd cannot read the block: %v", i, err)
			}
			if *block.Hash() != a.Hash {
				r.Fatalf("share %d: hash %v, btcd says %v", i, a.Hash, block.Hash())
			}
			err = blockchain.CheckProofOfWork(block, params.PowLimit)
			if (err == nil) != a.Block && first {
				r.Fatalf("share %d: block %v, btcd says %v", i, a.Block, err)
			}
			if a.Block {
				if err := blockchain.CheckBlockSanity(block, params.PowLimit, blockchain.NewMedianTime()); err != nil {
					r.Fatalf("share %d: btcd refuses the block: %v", i, err)
				}
			}
			// difficulty = 2^224 / hash, but for the last bits.
			hash := new(big.Float).SetInt(blockchain.HashToBig(&a.Hash))
			worth, _ := new(big.Float).Quo(work, hash).Float64()
			if near := math.Abs(worth/difficulty-1) < 1e-9; !near && first && err != nil && (a.Refusal == nil) != (worth > difficulty) {
				r.Fatalf("share %d worth %g, judged by %g: %v", i, worth, difficulty, a.Refusal)
			}
			if !first && a.Refusal != judge.ErrDuplicate && a.Refusal != judge.ErrLowDifficulty {
				r.Fatalf("share %d came before: %v", i, a.Refusal)
			}
		}
	})
}
