package pcapfilter

import (
	"net/netip"
	"strconv"
	"strings"
)

type tokenKind uint8

const (
	tokEOF  tokenKind = iota
	tokWord           // a keyword or an operator: text says which
	tokName           // a name that is no keyword, or any word after a backslash
	tokNum            // a number or one of the named constants
	tokIPv4           // two to four numbers with dots
	tokIPv6
	tokMAC
	tokBad // no word of the language
)

type token struct {
	kind tokenKind
	text string // as written, but == as =, && as and, || as or, not as !
	word string // as written
	num  uint32 // of tokNum
	off  int
	msg  string // of tokBad: what is wrong
}

// is reports whether t is the keyword or operator text.
func (t token) is(text string) bool { return t.kind == tokWord && t.text == text }

// lexer cuts an expression into words as flex does: the longest match wins.
type lexer struct {
	expr string
	off  int
}

func (l *lexer) next() token {
	for l.off < len(l.expr) && strings.IndexByte(" \r\n\t", l.expr[l.off]) >= 0 {
		l.off++
	}
	rest := l.expr[l.off:]
	if rest == "" {
		return token{off: l.off}
	}
	t := scan(rest)
	t.off = l.off
	t.word = rest[:len(t.text)]
	l.off += len(t.text)

	switch {
	case t.kind == tokName && t.text[0] == '\\':
		t.text = t.text[1:]
	case t.kind == tokName:
		if n, ok := constant(t.text); ok {
			t.kind, t.num = tokNum, n
		} else if isKeyword(t.text) {
			t.kind = tokWord
		}
	case t.kind == tokNum:
		n, msg := parseNumber(t.text)
		if t.num = n; msg != "" {
			t.kind, t.msg = tokBad, msg
		}
	}
	if t.kind == tokWord {
		switch t.text {
		case "==":
			t.text = "="
		case "&&":
			t.text = "and"
		case "||":
			t.text = "or"
		case "not":
			t.text = "!"
		case "length":
			t.text = "len"
		case "link", "ppp", "slip", "fddi", "tr", "wlan": // all the same to libpcap
			t.text = "ether"
		}
	}
	return t
}

// scan returns the kind and the text of the word that s begins with.
func scan(s string) token {
	// In the order of precedence among matches of equal length.
	best := token{}
	try := func(kind tokenKind, n int) {
		if n > len(best.text) {
			best = token{kind: kind, text: s[:n]}
		}
	}
	try(tokMAC, macLen(s))
	try(tokNum, numLen(s))
	try(tokIPv4, ipv4Len(s))
	try(tokIPv6, ipv6Len(s))
	try(tokName, nameLen(s))
	try(tokName, escapedLen(s))
	if best.text != "" {
		return best
	}
	if len(s) >= 2 {
		switch s[:2] {
		case ">=", "<=", "!=", "==", "<<", ">>", "&&", "||":
			return token{kind: tokWord, text: s[:2]}
		}
	}
	if n := run(s[1:], 2, isHex); s[0] == '$' && n > 0 {
		return token{kind: tokBad, text: s[:1+n], msg: "not supported: ARCnet addresses"}
	}
	if strings.IndexByte("+-*/%:[]!<>()&|^=", s[0]) >= 0 {
		return token{kind: tokWord, text: s[:1]}
	}
	return token{kind: tokBad, text: s[:1], msg: "unexpected character"}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isAlnum(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

// run returns how many bytes at the beginning of s satisfy ok, at most limit.
func run(s string, limit int, ok func(byte) bool) int {
	n := 0
	for n < len(s) && n < limit && ok(s[n]) {
		n++
	}
	return n
}

func numLen(s string) int {
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && isHex(s[2]) {
		return 2 + run(s[2:], len(s), isHex)
	}
	return run(s, len(s), isDigit)
}

// ipv4Len matches two to four numbers with dots between them.
func ipv4Len(s string) int {
	n := numLen(s)
	if n == 0 {
		return 0
	}
	parts := 1
	for parts < 4 && n < len(s) && s[n] == '.' {
		m := numLen(s[n+1:])
		if m == 0 {
			break
		}
		n += 1 + m
		parts++
	}
	if parts == 1 {
		return 0
	}
	return n
}

func ipv6Len(s string) int {
	n := run(s, len("0000:0000:0000:0000:0000:0000:255.255.255.255"), func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
	if strings.IndexByte(s[:n], ':') < 0 {
		return 0
	}
	for ; n > 1; n-- {
		if a, err := netip.ParseAddr(s[:n]); err == nil && a.Is6() {
			return n
		}
	}
	return 0
}

// macLen matches six bytes with colons, hyphens or dots, three times four hex
// digits with dots, or twelve hex digits.
func macLen(s string) int {
	best := 0
	for _, sep := range []byte(":-.") {
		n, ok := 0, true
		for i := 0; i < 6 && ok; i++ {
			if i > 0 {
				if ok = n < len(s) && s[n] == sep; !ok {
					break
				}
				n++
			}
			d := run(s[n:], 2, isHex)
			n, ok = n+d, d > 0
		}
		if ok {
			best = max(best, n)
		}
	}
	if len(s) >= 14 && s[4] == '.' && s[9] == '.' && run(s[:4]+s[5:9]+s[10:14], 12, isHex) == 12 {
		best = max(best, 14)
	}
	if run(s, 12, isHex) == 12 {
		best = max(best, 12)
	}
	return best
}

// nameLen matches letters, digits, '-', '_' and '.', beginning with a letter or
// digit and not ending with '-' or '_'.
func nameLen(s string) int {
	if !isAlnum(s[0]) {
		return 0
	}
	n := run(s, len(s), func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' })
	for s[n-1] == '-' || s[n-1] == '_' {
		n--
	}
	return n
}

// escapedLen matches a backslash and a word, which then is no keyword.
func escapedLen(s string) int {
	if s[0] != '\\' {
		return 0
	}
	n := 1 + run(s[1:], len(s), func(c byte) bool { return strings.IndexByte(" !()\n\t", c) < 0 })
	if n == 1 {
		return 0
	}
	return n
}

// parseNumber reads decimal, 0x hexadecimal and 0 octal, or says what is wrong.
func parseNumber(s string) (uint32, string) {
	base := 10
	digits := s
	switch {
	case len(s) > 1 && s[1]|0x20 == 'x':
		base, digits = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base = 8
		if strings.ContainsAny(s, "89") {
			return 0, "octal number with a digit above 7"
		}
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, "number does not fit 32 bits"
	}
	return uint32(n), ""
}

// parseIPv4 reads one to four decimal numbers with dots; bits says how many
// bits they fill. A short address fills the high bits: 192.168 is 192.168.0.0.
func parseIPv4(s string) (addr uint32, bits int, ok bool) {
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n > 255 {
			return 0, 0, false
		}
		addr = addr<<8 | uint32(n)
		bits += 8
	}
	return addr << (32 - bits), bits, true
}

// parseMAC reads any of the forms that macLen matches.
func parseMAC(s string) (mac [6]byte) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":-.", r) })
	if len(parts) != len(mac) {
		all := strings.Join(parts, "")
		parts = parts[:0]
		for i := 0; i+2 <= len(all); i += 2 {
			parts = append(parts, all[i:i+2])
		}
	}
	for i := range mac {
		n, _ := strconv.ParseUint(parts[i], 16, 8) // macLen has matched it
		mac[i] = byte(n)
	}
	return mac
}
