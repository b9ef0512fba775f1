package craft

import (
	"fmt"
	"strconv"
	"strings"

	"finack/decode"
)

// flagLetters are tcpdump's letters for the control bits, in the order of their
// bits: ACK is a point, ECE is E, CWR is W, and AE, which older versions leave out, e.
const flagLetters = "FSRP.UEWe"

// AppendFlagLetters appends the control bits as tcpdump's letters in its order,
// ACK last, as in "S."; "-" for none of them.
func AppendFlagLetters(dst []byte, f decode.Flags) []byte {
	if f&flagBits == 0 {
		return append(dst, '-')
	}
	for _, c := range []byte("SFRPUEWe.") {
		if f.Any(1 << strings.IndexByte(flagLetters, c)) {
			dst = append(dst, c)
		}
	}
	return dst
}

// ParseFlags reads TCP's control bits: their names, as in "SYN,ACK" (also with
// + between them, in lower case, NS for AE), tcpdump's letters, as in "S.", or
// a number, as in "0x29". "none", and 0, are no bits.
func ParseFlags(s string) (decode.Flags, error) {
	if s == "none" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(s, 0, 16); err == nil {
		if n > flagBits {
			return 0, fmt.Errorf("TCP flags %q: there are 9 bits, up to 0x%x", s, flagBits)
		}
		return decode.Flags(n), nil
	}
	if f, ok := flagsByName(s); ok {
		return f, nil
	}
	if f, ok := flagsByLetter(s); ok {
		return f, nil
	}
	return 0, fmt.Errorf("TCP flags %q: want names as in SYN,ACK, tcpdump's letters as in S., a number as in 0x12, or none", s)
}

func flagsByName(s string) (f decode.Flags, ok bool) {
	for name := range strings.FieldsFuncSeq(strings.ToUpper(s), func(r rune) bool { return r == ',' || r == '+' }) {
		bit := decode.AE
		if name != "NS" {
			for bit = decode.FIN; bit.String() != name; bit <<= 1 {
				if bit == decode.AE {
					return 0, false
				}
			}
		}
		f, ok = f|bit, true
	}
	return f, ok
}

func flagsByLetter(s string) (f decode.Flags, ok bool) {
	for _, letter := range s {
		i := strings.IndexRune(flagLetters, letter)
		if i < 0 {
			return 0, false
		}
		f |= 1 << i
	}
	return f, s != ""
}
