//go:build !unix

package stratum

import "time"

func openFilesLimit() uint64 { return 0 }

func cpuTime() time.Duration { return 0 }
