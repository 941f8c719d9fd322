// Package version tells which version of Lode this is.
package version

import "runtime/debug"

// tag is set by the linker: -X lode/version.tag=v1.2.3.
var tag string

// String is the version: the tag that the program was built from, else what Go's
// build information knows of the commit, else "(devel)".
func String() string {
	if tag != "" {
		return tag
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
