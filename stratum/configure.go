package stratum

import (
	"bytes"

	"lode/stratum/jsonscan"
)

// maxExtensions bounds the names in one mining.configure.
const maxExtensions = 32

// configure answers mining.configure (BIP 310): every extension that was asked
// for, and no other, since some firmware breaks on keys that it did not ask for.
func (c *Conn) configure(m *message) {
	params := arrayOf(m.params)
	names, options := params.next(), params.next()
	if kindOf(names) == '"' {
		names = append(append([]byte{'['}, names...), ']') // one, without its brackets
	}
	if kindOf(names) != '[' {
		c.reply(m.id, falseNever, errParams)
		return
	}
	values, ok := parseExtensionValues(options)
	if !ok {
		c.reply(m.id, falseNever, errParams)
		return
	}
	result, least := append(make([]byte, 0, 128), '{'), Difficulty(0)
	list := arrayOf(names)
	for range maxExtensions {
		raw := list.next()
		if raw == nil {
			break
		}
		name, ok := text(raw)
		if !ok {
			continue
		}
		key := append(appendString(nil, string(name)), ':')
		if bytes.Contains(result, key) {
			continue // once is enough
		}
		if len(result) > 1 {
			result = append(result, ',')
		}
		result = append(result, key...)
		result = c.configureOne(result, string(name), values, &least)
	}
	c.replyRaw(m.id, string(append(result, '}')))
	c.suggest(least, true)
}

// extensionValues are the parameters of extensions, raw; nil: absent.
type extensionValues struct{ mask, minimum []byte }

// parseExtensionValues reads an object that parseMessage has accepted, or null. It
// is not encoding/json that does this: each miner comes here, and would be left with a
// stack of 8 KiB instead of 4.
func parseExtensionValues(raw []byte) (v extensionValues, ok bool) {
	// PHP writes an empty object as an empty list.
	if isNull(raw) || string(raw) == "[]" {
		return v, true
	}
	s := jsonscan.New(raw)
	if !s.Begin('{') {
		return v, false
	}
	for n := 0; s.More(n, '}'); n++ {
		name := s.Name()
		value := s.Value(1)
		switch string(name) {
		case "version-rolling.mask":
			v.mask = value
		case "minimum-difficulty.value":
			v.minimum = value
		}
	}
	return v, s.End() == nil
}

func (c *Conn) configureOne(result []byte, name string, values extensionValues, least *Difficulty) []byte {
	switch name {
	case "version-rolling":
		mask := uint32(0xffffffff)
		if raw := values.mask; !isNull(raw) {
			var ok bool
			if mask, ok = hex32(raw); !ok {
				return append(result, `"mask must be up to 8 hexadecimal digits"`...)
			}
		}
		granted := c.rollVersions(mask)
		if granted == 0 {
			return append(result, "false"...)
		}
		result = append(result, `true,"version-rolling.mask":"`...)
		return append(appendHex32(result, granted), '"')
	case "minimum-difficulty":
		d, ok := number(values.minimum)
		switch {
		case ok && d == 0: // no minimum
		case !ok || !Difficulty(d).Valid():
			return append(result, `"value must be a number not below 0"`...)
		default:
			*least = Difficulty(d)
		}
		return append(result, "true"...)
	case "subscribe-extranonce":
		c.mu.Lock()
		c.wantExtranonce = true
		c.mu.Unlock()
		return append(result, "true"...)
	case "info":
		return append(result, "true"...)
	}
	return append(result, "false"...)
}

// rollVersions grants what the miner's mask and the server's have in common, also
// if that is less than the miner's min-bit-count: it may make do with it.
func (c *Conn) rollVersions(mask uint32) (granted uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serverMask = c.server.versionMask.Load()
	c.minerMask = mask
	c.rolling = mask&c.serverMask != 0
	return c.versionMask()
}
