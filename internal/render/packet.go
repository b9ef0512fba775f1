package render

import (
	"strconv"
	"time"

	"finack/decode"
	"finack/trace"
)

// colNote is where a packet's line goes on with what is to be said of it.
const colNote = 62

// AppendPacket appends a line for a packet that no tracker follows: e of kind
// SegmentSeen, DatagramSeen, of any protocol, or ICMPSeen, with no states. note
// ends the line where it is not "".
func (t *Text) AppendPacket(dst []byte, e *trace.Event, note string) []byte {
	at := len(dst)
	dst, at = t.intro(dst, at, e)
	dst = t.begin(dst, e)
	dst = t.arrow(dst, e.From)
	switch e.Kind {
	case trace.SegmentSeen:
		dst = t.flags(dst, e.Flags)
		dst = pad(dst, at, colNumber)
		dst = t.numbers(dst, e)
	case trace.ICMPSeen:
		dst = t.color(dst, red)
		dst = appendICMPWords(dst, e)
		dst = t.color(dst, plain)
	default:
		if e.Proto == decode.ProtoUDP || echo(e.Proto) {
			dst = appendDatagramName(dst, e)
		} else {
			dst = append(dst, e.Proto.String()...)
		}
		dst = pad(dst, at, colNumber)
		dst = append(dst, "len="...)
		dst = strconv.AppendInt(dst, int64(e.Len), 10)
	}
	if note != "" {
		dst = pad(dst, at, min(colNote, 80-width([]byte(note))))
		dst = append(dst, note...)
	}
	return append(dst, '\n')
}

// appendICMPWords appends what an ICMP message says, or its numbers.
func appendICMPWords(dst []byte, e *trace.Event) []byte {
	dst = append(dst, "ICMP"...)
	if e.IPv6 {
		dst = append(dst, "v6"...)
	}
	dst = append(dst, ' ')
	if m := ICMPMeaning(e.ICMPType, e.ICMPCode, e.IPv6); m != "" {
		return append(dst, m...)
	}
	dst = append(dst, "type "...)
	dst = strconv.AppendUint(dst, uint64(e.ICMPType), 10)
	dst = append(dst, " code "...)
	return strconv.AppendUint(dst, uint64(e.ICMPCode), 10)
}

// ICMPMeaning returns what an ICMP or ICMPv6 message says, in words, or "".
func ICMPMeaning(icmpType, code uint8, v6 bool) string { return icmpMeaning(icmpType, code, v6) }

// Duration returns d with three significant digits and a unit: "80 ms".
func Duration(d time.Duration) string { return string(appendDuration(nil, d)) }
