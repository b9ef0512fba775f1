package where

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"finack/trace"
)

// address is an address or a net, and maybe a port.
type address struct {
	net     netip.Prefix
	port    uint16
	hasPort bool
}

// is reports whether one end of c has the address.
func (a *address) is(c *trace.Conn, s trace.Side) bool {
	end := c.Client
	if s == trace.Server {
		end = c.Server
	}
	ap := end.AddrPort()
	return a.net.Contains(ap.Addr()) && (!a.hasPort || ports(c) == 1 && ap.Port() == a.port)
}

func parseAddress(text string) (a address, ok bool) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return address{net: netip.PrefixFrom(addr, addr.BitLen())}, true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Addr().Zone() == "" {
		return address{netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()), ap.Port(), true}, true
	}
	net, err := netip.ParsePrefix(text)
	return address{net: net.Masked()}, err == nil
}

func (a *address) append(dst []byte) []byte {
	switch {
	case a.hasPort:
		return netip.AddrPortFrom(a.net.Addr(), a.port).AppendTo(dst)
	case a.net.IsSingleIP():
		return a.net.Addr().AppendTo(dst)
	default:
		return a.net.AppendTo(dst)
	}
}

// parseValue puts the value that text is for the field into t.
func (f *field) parseValue(text string, t *test) (ok bool) {
	switch f.kind {
	case kindAddress:
		t.addr, ok = parseAddress(text)
	case kindDuration:
		d, err := time.ParseDuration(text)
		t.n, ok = int64(d), err == nil && d >= 0
	case kindPort:
		n, err := strconv.ParseUint(text, 10, 16)
		t.n, ok = int64(n), err == nil
	case kindSize:
		t.n, ok = parseNumber(strings.TrimSuffix(text, "B"))
	case kindCount:
		t.n, ok = parseNumber(text)
	default:
		for i, word := range f.wordList() {
			if fold(word) == fold(text) {
				t.n, ok = int64(i), true
			}
		}
	}
	return ok
}

// parseNumber takes "1500", "10k" and "1.5M", in powers of ten.
func parseNumber(text string) (int64, bool) {
	unit := 1.0
	if n := len(text) - 1; n > 0 {
		switch text[n] {
		case 'k', 'K':
			unit = 1e3
		case 'M':
			unit = 1e6
		case 'G':
			unit = 1e9
		case 'T':
			unit = 1e12
		}
		if unit > 1 {
			text = text[:n]
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && unit == 1 {
		return n, n >= 0
	}
	if strings.Trim(text, "0123456789.") != "" { // no exponent, no sign, no NaN
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	v *= unit
	// A number of things is a whole one.
	return int64(v), err == nil && v < math.MaxInt64 && v == math.Trunc(v)
}

// appendValue appends the value of t, a test of the field.
func (f *field) appendValue(dst []byte, t *test) []byte {
	switch f.kind {
	case kindAddress:
		return t.addr.append(dst)
	case kindDuration:
		return append(dst, time.Duration(t.n).String()...)
	case kindWord, kindFlag:
		return append(dst, f.wordList()[t.n]...)
	default:
		return strconv.AppendInt(dst, t.n, 10)
	}
}

// wordList returns the field's words; those of a flag are the same for all.
func (f *field) wordList() []string {
	if f.kind == kindFlag {
		return []string{"false", "true"}
	}
	return f.words
}

// want says what a value is.
func (f *field) want() string {
	switch f.kind {
	case kindAddress:
		return "an address, a net (10.0.0.0/8) or address:port"
	case kindDuration:
		return "a duration such as 5s, 100ms or 1.5h"
	case kindCount:
		return "a number such as 3 or 10k"
	case kindSize:
		return "a number of bytes such as 1500, 10k or 1.5MB"
	case kindPort:
		return "a port, 0 to 65535"
	default:
		return list(f.wordList(), "or")
	}
}
