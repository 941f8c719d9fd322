package wire

// ValidUUID reports whether Mesos takes the bytes for a UUID: there are sixteen of
// them, of one of the versions 1 to 5 (RFC 9562; the version is in the upper half of the
// seventh byte). Sixteen random bytes will not do.
func ValidUUID(b []byte) bool {
	return len(b) == 16 && b[6]>>4 >= 1 && b[6]>>4 <= 5
}
