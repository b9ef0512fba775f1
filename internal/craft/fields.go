package craft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"finack/decode"
)

// Field is a part of a packet: Len bytes from Offset, what the RFCs call it,
// and what it says in words.
type Field struct {
	Offset, Len int
	Name, Value string
}

// Fields returns what an IP packet is made of, any bytes at all: every byte
// belongs to one field, in order. Headers of IPv4, IPv6, its fragments, TCP,
// UDP and ICMP are taken apart; what is not known, or cut off, is called bytes
// or payload. Checksums are verified where all that they cover is there.
func Fields(packet []byte) []Field {
	w := walker{packet: packet}
	switch {
	case len(packet) == 0:
	case packet[0]>>4 == 4:
		w.ipv4()
	case packet[0]>>4 == 6:
		w.ipv6()
	}
	w.rest("bytes")
	return w.fields
}

// walker takes a packet apart, from at on.
type walker struct {
	packet []byte
	at     int
	end    int // of the packet by its own length, where that is shorter
	fields []Field

	// The IP header's word on what follows it.
	pseudo   uint32 // sum of the addresses, for the pseudo-header
	fragment bool   // a part of a packet: no transport checksum can be verified
	later    bool   // not its first part: it has no transport header
}

// left is what has not been taken apart.
func (w *walker) left() []byte { return w.packet[w.at:w.end] }

// field takes n bytes, which are there.
func (w *walker) field(n int, name, format string, args ...any) {
	if n > 0 {
		w.fields = append(w.fields, Field{w.at, n, name, fmt.Sprintf(format, args...)})
		w.at += n
	}
}

// rest takes all that is left, also what the packet's length does not cover.
func (w *walker) rest(name string) {
	if n := len(w.left()); n > 0 {
		w.field(n, name, "%s", countBytes(n))
	}
	w.end = len(w.packet)
	if n := len(w.left()); n > 0 {
		if w.at > 0 {
			name = "beyond the length"
		}
		w.field(n, name, "%s", countBytes(n))
	}
}

func countBytes(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return strconv.Itoa(n) + " bytes"
}

func (w *walker) u8(name string) uint8 {
	v := w.packet[w.at]
	w.field(1, name, "%d", v)
	return v
}

func (w *walker) u16(name string) uint16 {
	v := binary.BigEndian.Uint16(w.packet[w.at:])
	w.field(2, name, "%d", v)
	return v
}

func (w *walker) u32(name string) uint32 {
	v := binary.BigEndian.Uint32(w.packet[w.at:])
	w.field(4, name, "%d", v)
	return v
}

// length takes a length of two bytes and returns it; have is what it should be.
func (w *walker) length(name string, have int) int {
	v := int(binary.BigEndian.Uint16(w.packet[w.at:]))
	if v == have {
		w.field(2, name, "%d", v)
	} else {
		w.field(2, name, "%d, but %s here", v, are(have))
	}
	return v
}

func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return strconv.Itoa(n) + " are"
}

// sum takes a checksum of two bytes over b, in which it lies at offset at, and
// over what pseudo is the sum of.
func (w *walker) sum(name string, b []byte, at int, pseudo uint32) {
	have := binary.BigEndian.Uint16(b[at:])
	want := checksum(add(add(pseudo, b[:at]), b[at+2:]))                 // at is even
	if want == have || want^have == 0xffff && (want == 0 || have == 0) { // there are two zeros
		w.field(2, name, "0x%04x, right", have)
	} else {
		w.field(2, name, "0x%04x, wrong: 0x%04x would be right", have, want)
	}
}

// trafficClass says what TOS, or the traffic class, is (RFC 2474, RFC 3168).
func trafficClass(tos uint8) string {
	ecn := [...]string{"not ECT", "ECT(1)", "ECT(0)", "CE"}[tos&3]
	return fmt.Sprintf("0x%02x: DSCP %d, %s", tos, tos>>2, ecn)
}

func protocolWords(p uint8) string {
	if name := decode.Proto(p).String(); p != 0 && !strings.HasPrefix(name, "proto ") {
		return fmt.Sprintf("%d, %s", p, name)
	}
	return strconv.Itoa(int(p))
}

func (w *walker) ipv4() {
	b := w.packet
	w.end = len(b)
	if len(b) < header4 {
		return
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < header4 || header > len(b) {
		return
	}
	w.field(1, "version, IHL", "4, %d bytes", header)
	w.field(1, "type of service", "%s", trafficClass(b[1]))
	w.length("total length", len(b))
	w.field(2, "identification", "%d (0x%04[1]x)", binary.BigEndian.Uint16(b[4:]))
	word := binary.BigEndian.Uint16(b[fragment4:])
	offset := int(word&0x1fff) * 8
	w.field(2, "flags, offset", "%s, %s", ipFlags(word), countBytes(offset))
	w.u8("time to live")
	protocol := b[9]
	w.field(1, "protocol", "%s", protocolWords(protocol))
	w.sum("header checksum", b[:header], sum4, 0)
	w.field(4, "source address", "%v", netip.AddrFrom4([4]byte(b[12:])))
	w.field(4, "destination address", "%v", netip.AddrFrom4([4]byte(b[16:])))
	w.field(header-header4, "options", "%s", countBytes(header-header4))

	w.pseudo = add(0, b[12:20])
	w.fragment, w.later = word&flagMF != 0 || offset > 0, offset > 0
	w.shorten(total)
	w.transport(protocol)
}

func ipFlags(word uint16) string {
	var s []string
	for _, f := range [...]struct {
		bit  uint16
		name string
	}{{0x8000, "reserved bit"}, {flagDF, "DF"}, {flagMF, "MF"}} {
		if word&f.bit != 0 {
			s = append(s, f.name)
		}
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, "+")
}

// shorten makes the packet end where its header says. One that is longer than
// what is there is cut off: its checksum cannot be verified.
func (w *walker) shorten(total int) {
	switch {
	case total > len(w.packet):
		w.fragment = true
	case total >= w.at:
		w.end = total
	}
}

func (w *walker) ipv6() {
	b := w.packet
	w.end = len(b)
	if len(b) < header6 {
		return
	}
	word := binary.BigEndian.Uint32(b)
	w.field(4, "version, class, label", "6, %s, 0x%05x", trafficClass(uint8(word>>20)), word&0xfffff)
	payload := w.length("payload length", len(b)-header6)
	next := b[6]
	w.field(1, "next header", "%s", nextWords(next))
	w.u8("hop limit")
	w.field(16, "source address", "%v", netip.AddrFrom16([16]byte(b[8:])))
	w.field(16, "destination address", "%v", netip.AddrFrom16([16]byte(b[24:])))
	w.pseudo = add(0, b[8:40])
	w.shorten(header6 + payload)
	if next == protoFragment && len(w.left()) >= fragmentHeader {
		next = w.fragment6()
	}
	w.transport(next)
}

func nextWords(next uint8) string {
	if next == protoFragment {
		return "44, fragment header"
	}
	return protocolWords(next)
}

func (w *walker) fragment6() (next uint8) {
	b := w.left()
	next = b[0]
	w.field(1, "next header", "%s", nextWords(next))
	w.u8("reserved")
	word := binary.BigEndian.Uint16(b[2:])
	more := "last"
	if word&1 != 0 {
		more = "more to come"
	}
	w.field(2, "fragment offset, M", "%s, %s", countBytes(int(word&^7)), more)
	w.field(4, "identification", "%d (0x%08[1]x)", binary.BigEndian.Uint32(b[4:]))
	if word&^6 != 0 {
		w.fragment = true // RFC 6946: otherwise it is the whole packet
	}
	w.later = word&^7 != 0
	return next
}

// transport takes apart what an IP header says to be protocol.
func (w *walker) transport(protocol uint8) {
	n := len(w.left())
	switch {
	case w.later:
	case protocol == protoTCP && n >= tcpHeader:
		w.tcp()
	case protocol == protoUDP && n >= udpHeader:
		w.udp()
	case protocol == protoICMP && n >= icmpHeader:
		w.icmp(0, 8, 0)
	case protocol == protoICMPv6 && n >= icmpHeader:
		w.icmp(w.pseudo+uint32(protocol)+uint32(n), 128, 129)
	}
	w.rest("payload")
}

// transportSum takes a checksum of the bytes b, the rest of the packet.
func (w *walker) transportSum(b []byte, at int, pseudo uint32) {
	if w.fragment {
		w.field(2, "checksum", "0x%04x, of more than is here", binary.BigEndian.Uint16(b[at:]))
		return
	}
	w.sum("checksum", b, at, pseudo)
}

func (w *walker) tcp() {
	b := w.left()
	header := int(b[12]>>4) * 4
	w.u16("source port")
	w.u16("destination port")
	w.u32("sequence number")
	w.u32("acknowledgment number")
	flags := decode.Flags(binary.BigEndian.Uint16(b[12:])) & flagBits
	names := flags.String()
	if flags == 0 {
		names = "none"
	}
	w.field(2, "data offset, flags", "%d bytes, %s", header, names)
	w.u16("window")
	w.transportSum(b, 16, w.pseudo+uint32(protoTCP)+uint32(len(b)))
	w.u16("urgent pointer")
	if header < tcpHeader || header > len(b) {
		return
	}
	w.tcpOptions(b[tcpHeader:header])
}

// tcpOptions takes the options b apart, up to one of an impossible length.
func (w *walker) tcpOptions(b []byte) {
	for len(b) > 0 {
		kind := OptionKind(b[0])
		if kind <= NoOperation {
			w.field(1, "option", "%s", Option{Kind: kind})
			b = b[1:]
			if kind == EndOfOptions {
				w.field(len(b), "padding", "%s", countBytes(len(b)))
				return
			}
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			w.field(len(b), "options", "kind %d, of an impossible length", kind)
			return
		}
		n := int(b[1])
		w.field(n, "option", "%s", Option{kind, string(b[2:n])})
		b = b[n:]
	}
}

func (w *walker) udp() {
	b := w.left()
	w.u16("source port")
	w.u16("destination port")
	if w.fragment {
		w.u16("length")
	} else if n := w.length("length", len(b)); n >= udpHeader && n < len(b) {
		w.end -= len(b) - n // what follows is no part of the datagram
		b = b[:n]
	}
	switch sum := binary.BigEndian.Uint16(b[6:]); {
	case sum == 0 && w.packet[0]>>4 == 6: // RFC 8200 section 8.1
		w.field(2, "checksum", "0: none, but IPv6 wants one")
	case sum == 0:
		w.field(2, "checksum", "0: none")
	default:
		w.transportSum(b, 6, w.pseudo+uint32(protoUDP)+uint32(len(b)))
	}
}

// icmp takes apart a message of ICMP or ICMPv6, whose echo request and reply
// have these types.
func (w *walker) icmp(pseudo uint32, request, reply uint8) {
	b := w.left()
	echo := true
	switch b[0] {
	case request:
		w.field(1, "type", "%d, echo request", request)
	case reply:
		w.field(1, "type", "%d, echo reply", reply)
	default:
		w.u8("type")
		echo = false
	}
	w.u8("code")
	w.transportSum(b, 2, pseudo)
	if echo {
		w.u16("identifier")
		w.u16("sequence number")
	} else {
		w.field(4, "rest of header", "%d", binary.BigEndian.Uint32(b[4:]))
	}
}

// Columns of a dump; an IPv6 address ends at the 80th.
const (
	dumpBytes = 4  // a line, of a field that is not mere bytes
	dumpText  = 16 // a line, of a payload
	dumpName  = 19
	dumpValue = 41
	dumpWidth = 80
)

// AppendDump appends packet's fields a line each: offset and bytes in
// hexadecimal, name and value, as in
//
//	0014  9c 40        source port           40000
//
// Bytes that mean nothing here, such as a payload, follow in lines of 16 with
// their ASCII text. No line is wider than 80 columns.
func AppendDump(dst, packet []byte) []byte {
	for _, f := range Fields(packet) {
		b := packet[f.Offset : f.Offset+f.Len]
		switch f.Name {
		case "payload", "bytes", "beyond the length":
			dst = appendNamed(dst, 0, nil, f.Name, f.Value)
			for at := 0; at < len(b); at += dumpText {
				dst = appendText(dst, f.Offset+at, b[at:min(at+dumpText, len(b))])
			}
		default:
			dst = appendField(dst, f, b)
		}
	}
	return dst
}

// appendField appends the lines of a field: a long one's bytes, and a long
// value, go on below.
func appendField(dst []byte, f Field, b []byte) []byte {
	name, value := f.Name, f.Value
	for at := 0; at < len(b) || value != ""; at += dumpBytes {
		part, text := b[min(at, len(b)):min(at+dumpBytes, len(b))], value
		if room := dumpWidth - dumpValue; len(text) > room {
			cut := strings.LastIndexByte(text[:room], ' ') + 1
			if cut == 0 {
				cut = room
			}
			text = text[:cut]
		}
		value = value[len(text):]
		dst = appendNamed(dst, f.Offset+at, part, name, strings.TrimRight(text, " "))
		name = ""
	}
	return dst
}

// appendNamed appends a line; where it has no bytes it has no offset either.
func appendNamed(dst []byte, offset int, b []byte, name, value string) []byte {
	line := len(dst)
	if len(b) > 0 {
		dst = fmt.Appendf(dst, "%04x ", offset)
	}
	for _, c := range b {
		dst = fmt.Appendf(dst, " %02x", c)
	}
	for _, part := range [...]struct {
		column int
		text   string
	}{{dumpName, name}, {dumpValue, value}} {
		if part.text == "" {
			continue
		}
		for len(dst)-line < part.column {
			dst = append(dst, ' ')
		}
		dst = append(dst, part.text...)
	}
	return append(dst, '\n')
}

// appendText appends a line of bytes and what they are in ASCII.
func appendText(dst []byte, offset int, b []byte) []byte {
	dst = fmt.Appendf(dst, "%04x  % -*x  ", offset, 3*dumpText-1, b)
	for _, c := range b {
		if c < ' ' || c > '~' {
			c = '.'
		}
		dst = append(dst, c)
	}
	return append(dst, '\n')
}
