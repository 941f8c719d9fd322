// Command hybrid writes kernels that use the SHA instructions of x86 and vectors at
// the same time: the message schedule of the second hash is made in vectors, whose
// lanes are eight hashes, while the SHA instructions do rounds of other hashes. That
// pays where the core starts a SHA256RNDS2 in each cycle, as Zen 3 and 4 do.
//
// A group is eight versions of one nonce, or eight nonces of one version. A block of straight code does the work of
// one group, but of different groups: each part of it takes up what the same part of
// an earlier block left in memory. So nothing waits, and the results of a group come
// some blocks after its first instruction; who starts a kernel runs that many blocks
// whose results it drops.
package main

import (
	. "github.com/mmcloughlin/avo/build"
)

func main() {
	ConstraintExpr("amd64,!purego")
	constants()
	rollAVX512()
	plainAVX512()
	rollAVX2()
	plainAVX2()
	pool.Write()
	single.Write()
	Generate()
}
