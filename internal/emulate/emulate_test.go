package emulate

import (
	"encoding/binary"
	"strings"
	"testing"
)

// The instructions themselves are tested by the kernels that also run natively; see
// package scan.

const program = `
#include "textflag.h"

DATA three<>+0(SB)/4, $0x00000003
GLOBL three<>(SB), RODATA|NOPTR, $4

// func sum(p *[2]uint32, n int)
TEXT ·sum(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
again:
	MOVL (SI), AX
	ADDL three<>+0(SB), AX
	MOVL AX, 4(SI)
	DECQ CX
	JNZ  again
	RET

// func aligned(p *[64]byte)
TEXT ·aligned(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), SI
	VMOVDQA32 (SI), Z0
	RET
`

func machine(t *testing.T) *Machine {
	t.Helper()
	p, err := Parse(program)
	if err != nil {
		t.Fatal(err)
	}
	return p.NewMachine()
}

func arguments(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func TestCall(t *testing.T) {
	m := machine(t)
	memory := make([]byte, 8)
	binary.LittleEndian.PutUint32(memory, 40)
	if err := m.Call("sum", arguments(m.Map(memory), 2)); err != nil {
		t.Fatal(err)
	}
	if got := binary.LittleEndian.Uint32(memory[4:]); got != 43 {
		t.Errorf("40 + 3 = %d", got)
	}
	if m.Executed != 13 {
		t.Errorf("%d instructions for two turns of five, and three more", m.Executed)
	}
}

func TestFaults(t *testing.T) {
	m := machine(t)
	memory := make([]byte, 256)
	base := m.Map(memory)
	for _, c := range []struct {
		function  string
		arguments []byte
		want      string
	}{
		{"sum", arguments(base+252, 1), "not mapped"}, // reads inside, writes outside
		{"sum", arguments(base-2, 1), "not mapped"},
		{"sum", arguments(base), "beyond those that were given"},
		{"aligned", arguments(base - base%64 + 65), "not aligned"},
		{"absent", nil, "no function"},
	} {
		err := m.Call(c.function, c.arguments)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.function, err, c.want)
		}
	}
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"TEXT ·f(SB), NOSPLIT, $0-0\n\tVFANCY X0, X1\n",
		"TEXT ·f(SB), NOSPLIT, $0-0\n\tJMP nowhere\n",
		"TEXT ·f(SB), NOSPLIT, $0-0\n\tMOVQ (AX)(BX*4), CX\n",
		"TEXT ·f(SB), NOSPLIT, $0-0\n\tVPXOR.BCST (AX), Q0, X0\n",
		"DATA x<>+0(SB)/4, $many\n",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
}
