package notation_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"finack/decode"
	"finack/internal/craft"
	"finack/internal/notation"
)

// What no line may say is refused with the line, the word, and what was wanted.
func TestParseRefuses(t *testing.T) {
	const longWord = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	for _, c := range []struct{ line, want string }{
		{"0.1 client > server . 1:11(9) ack 1", `"1:11(9)": want FROM:TO(LEN), TO being FROM+LEN`},
		{"0.1 client > server . 1:1 ack 1", `"1:1": want FROM:TO(LEN)`},
		{"0.1 client > server . 1:65537(65536) ack 1", `"1:65537(65536)": want FROM:TO(LEN)`},
		{"0.1 client > server . 1:65531(65530) ack 1", `want a packet that its IP length, at most 65535, can tell`},
		{"0.1 client > server . -1:0(1) ack 1", `"-1:0(1)": want FROM`},
		{"0.1 client > server . 0:0(0)", `the end of the line: want "ack"`},
		{"0.1 client > server . 0:0(0) win 5 ack 1", `"win": want "ack", because of the flag .`},
		{"0.1 client > server S", `the end of the line: want FROM:TO(LEN)`},
		{"0.1 client > server", `the end of the line: want flags`},
		{"0.1 client >", `the end of the line: want the name of an end`},
		{"0.1 client", `the end of the line: want ">"`},
		{"0.1", `the end of the line: want the name`},
		{"0.1 client < server S 0:0(0)", `"<": want ">"`},
		{"0.1 nobody > server S 0:0(0)", `"nobody": want the name of an end`},
		{"0.1 client > server SX 0:0(0)", `"SX": want flags`},
		{"0.1 client > server SS 0:0(0)", `"SS": want flags`},
		{"0.1 client > server S 0:0(0) wind 5", `"wind": want ack, win, urg, reserved, ipid, ttl, tos, badsum or <OPTIONS>`},
		{"0.1 client > server S 0:0(0) win", `the end of the line: want win N, from 0 to 65535`},
		{"0.1 client > server S 0:0(0) win 65536", `"65536": want win N, from 0 to 65535`},
		{"0.1 client > server S 0:0(0) win 1 win 1", `"win": want each word once`},
		{"0.1 client > server S 0:0(0) reserved 8", `"8": want reserved N, from 0 to 7`},
		{"0.1 client > server S 0:0(0) nosum", `"nosum": want it only with UDP over IPv4`},
		{"0.1 client > server udp (1) badsum nosum", `"nosum": want badsum or nosum, not both`},
		{"0.1 client > server udp (1) win 5", `"win": want ipid, ttl, tos, badsum or nosum`},
		{"0.1 client > server udp 1", `"1": want (LEN)`},
		{"0.1 client > server udp (-1)", `"(-1)": want (LEN)`},
		{"0.1 client > server udp (65508)", `want a packet that its IP length, at most 65535, can tell`},
		{"0.1 client > server S 0:0(0) <mss>", `TCP option "mss": want mss N`},
		{"0.1 client > server S 0:0(0) <mss 1460", `want <OPTIONS>`},
		{"0.1 client > server S 0:0(0) <mss 1460> win 5", `want <OPTIONS>`},
		{"0.1 client > server S 0:0(0) <raw 0>", `"0": want raw and bytes in hexadecimal`},
		{"0.1 client > server S 0:0(0) <raw " + strings.Repeat("00", 41) + ">", `want options of at most 40 bytes`},
		{"0.1 client > server S 0:0(0) <TS val 1 ecr 2,TS val 1 ecr 2,TS val 1 ecr 2,TS val 1 ecr 2,TS val 1 ecr 2>", `more than 40 bytes`},
		{"0.1 client > server6 S 0:0(0)", `want ends of the same IP version`},
		{"0.1 client6 > server6 S 0:0(0) ipid 5", `"ipid": want no IP ID`},
		{"0.1 client > server echo id 7 (5)", `"id": want "request" or "reply"`},
		{"0.1 client > server echo request (5)", `"(5)": want "id"`},
		{"0.1 client > server icmp unreachable host (0)", `"host": want "port"`},
		{"0.1 client > server icmp 3 (0)", `"3": want "unreachable port" or TYPE/CODE`},
		{"0.1 client > server icmp 3/256 (0)", `"3/256": want "unreachable port" or TYPE/CODE`},
		{"0.1 client > server icmp 13/0, quoting udp client > server", `"quoting": want (LEN): only an error quotes`},
		{"0.1 client > server icmp 3/1, quoting", `the end of the line: want the name of an end`},
		{"0.1 client > server icmp 3/1, quoting udp client > server ttl 3", `"ttl": want the end of the line`},
		{"0.1 client > server icmp 3/1, quoting client > server udp (5) first 27", `"first 27": want from 28 to 33`},
		{"0.1 client > server icmp 3/1, quoting client > server udp (5) first 34", `"first 34": want from 28 to 33`},
		{"0.1 client > server icmp 3/1, quoting client > server udp (5) badsum", `"badsum or nosum": want neither`},
		{"0.1 client > server icmp 3/1, quoting client > server udp (5) ipid 5", `"ipid": want none`},
		{"0.1 client > server icmp 3/1, quoting client > server icmp 3/1, quoting udp client > server", `"quoting": want (LEN): what is quoted quotes nothing`},
		{"0.1 client > server icmp 3/1, quoting client > server udp (65507)", `want a packet that its IP length`},
		{"advance", `the end of the line: want a duration`},
		{"advance 5", `"5": want a duration`},
		{"advance -5s", `"-5s": want a duration`},
		{"advance 5s more", `"more": want the end of the line`},
		{"1e3 client > server S 0:0(0)", `"1e3": want a time in seconds`},
		{"+-1 client > server S 0:0(0)", `"+-1": want a time in seconds`},
		{"1. client > server S 0:0(0)", `"1.": want a time in seconds`},
		{".5 client > server S 0:0(0)", `".5": want`},
		{"+ client > server S 0:0(0)", `"+": want a time in seconds`},
		{"0.1234567891 client > server S 0:0(0)", `want a time in seconds`},
		{"5000000000 client > server S 0:0(0)", `want a time in seconds`},
		{"client", `the end of the line: want an address`},
		{"client isn", `the end of the line: want an initial sequence number, from 0 to 4294967295`},
		{"client isn 4294967296", `"4294967296": want an initial sequence number`},
		{"client isn 5 6", `"6": want`},
		{"client 10.0.0.1:65536", `"10.0.0.1:65536": want an address`},
		{"client fe80::1%eth0", `"fe80::1%eth0": want an address without a zone`},
		{"other isn 5", `"isn": want an address`},
		{"what? 10.0.0.1", `"what?": want a time, "advance", or the name of an end`},
		{strings.Repeat("a", 65) + " 10.0.0.1", `…: want a time, "advance", or the name of an end`},
		{longWord + "?\x00 5", "…: want a time"},
		{"0.1 client > server \xff\x00 5", `"\xff\x00": want flags`},
	} {
		text := "client6 [fd00::1]:5 # declared\n\nserver6 [fd00::2]:6\n" + c.line + "\n0.1 client > server S 0:0(0)\n"
		lines, err := notation.Parse(text)
		if err == nil {
			t.Errorf("%q was read as %d lines", c.line, len(lines))
			continue
		}
		if got := err.Error(); !strings.HasPrefix(got, "line 4: ") || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%q: %s\nwant %s", c.line, got, c.want)
		}
	}
}

// A short text cannot ask for packets without end.
func TestParseBoundsMemory(t *testing.T) {
	text := strings.Repeat("0 client > server udp (65000)\n", 5000)
	_, err := notation.Parse(text)
	if err == nil || !strings.Contains(err.Error(), "want packets of at most 134217728 bytes together") {
		t.Errorf("325 MB of packets: %v", err)
	}
}

// Times may not run away, one step after the other.
func TestParseBoundsTime(t *testing.T) {
	for _, line := range []string{"+3000000000 client > server S 0:0(0)\n", "advance 1000000h\n"} {
		if _, err := notation.Parse(line); err != nil {
			t.Errorf("%q once: %v", line, err)
		}
		if _, err := notation.Parse(line + line); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q twice: %v", line, err)
		}
	}
}

// What no line can say of a frame is refused by its name, and the frames after
// it are written as if it had not been there.
func TestWriterRefuses(t *testing.T) {
	ip := craft.IP{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}
	ip6 := craft.IP{Src: netip.MustParseAddr("fd00::1"), Dst: netip.MustParseAddr("fd00::2")}
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	segment := must(craft.AppendTCP(nil, &ip, &craft.TCP{SrcPort: 40000, DstPort: 80, Flags: decode.SYN}, nil))
	datagram := must(craft.AppendUDP(nil, &ip, &craft.UDP{SrcPort: 40000, DstPort: 80}, make([]byte, 100)))
	segment6 := must(craft.AppendTCP(nil, &ip6, &craft.TCP{SrcPort: 40000, DstPort: 80, Flags: decode.SYN}, nil))
	change := func(b []byte, at int, v ...byte) []byte {
		b = slices.Clone(b)
		copy(b[at:], v)
		return b
	}
	fragment := must2(craft.Fragment(datagram, 60, 1))[0]
	fragment6 := must2(craft.Fragment(must(craft.AppendUDP(nil, &ip6, &craft.UDP{}, make([]byte, 100))), 100, 1))[1]
	options := slices.Concat(change(segment[:20], 0, 0x46, 0, 0, 44), []byte{1, 1, 1, 1}, segment[20:])
	extension := must(craft.AppendIP(nil, &ip6, 60, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, segment6[40:]...)))
	gre := must(craft.AppendIP(nil, &ip, 47, append([]byte{0, 0, 8, 0}, segment...)))
	vxlan := must(craft.AppendUDP(nil, &ip, &craft.UDP{SrcPort: 1, DstPort: 4789},
		slices.Concat([]byte{8, 0, 0, 0, 0, 0, 1, 0}, make([]byte, 12), []byte{8, 0}, segment)))
	errorOf := func(quote []byte) []byte {
		return must(craft.AppendICMP(nil, &ip, &craft.ICMP{Type: 3, Code: 1}, quote))
	}
	ether := func(t uint16, b []byte) decode.Frame {
		b = append(binary.BigEndian.AppendUint16(make([]byte, 12), t), b...)
		return decode.Frame{Link: decode.LinkEthernet, Data: b, Wire: len(b)}
	}
	raw := func(b []byte) decode.Frame { return decode.Frame{Link: decode.LinkRaw, Data: b, Wire: len(b)} }
	cut := func(b []byte, n int) decode.Frame {
		return decode.Frame{Link: decode.LinkRaw, Data: b[:n], Wire: len(b)}
	}
	withOptions := must(craft.AppendTCP(nil, &ip, &craft.TCP{Options: craft.Options{craft.MSS(5), craft.TS(1, 2)}}, nil))

	for _, c := range []struct {
		f    decode.Frame
		want string
	}{
		{ether(0x0806, make([]byte, 28)), "ARP"},
		{ether(0x88cc, make([]byte, 28)), "EtherType 0x88cc, which is not IP"},
		{decode.Frame{Link: 4711, Data: segment, Wire: len(segment)}, "a link type that this decoder cannot read"},
		{raw(options), "IPv4 options"},
		{raw(extension), "IPv6 extension headers"},
		{raw(fragment), "a fragment"},
		{raw(fragment6), "a fragment"},
		{raw(gre), "a tunnel (GRE)"},
		{raw(must(craft.AppendIP(nil, &ip, 4, segment))), "a tunnel (IP in IP)"},
		{raw(must(craft.AppendIP(nil, &ip, 41, segment6))), "a tunnel (IP in IP)"},
		{raw(vxlan), "a tunnel (VXLAN or Geneve)"},
		{raw(must(craft.AppendIP(nil, &ip, 132, make([]byte, 12)))), "IP protocol 132"},
		{raw(must(craft.AppendIP(nil, &ip, 58, make([]byte, 12)))), "IP protocol 58"},
		{raw(change(segment, 2, 0, 0)), "an IP length of 0"},
		{raw(change(segment6, 4, 0, 0)), "an IP length of 0"},
		{raw(change(segment, 2, 0, 41)), "an IP length beyond the frame"},
		{raw(change(segment, 2, 0, 19)), "a malformed header"},
		{raw(change(segment, 32, 0x60)), "a malformed header"},
		{raw(change(segment, 32, 0x40)), "a malformed header"},
		{raw(change(datagram, 24, 0, 50)), "a UDP length that is not the IP payload's"},
		{raw(change(datagram, 24, 0, 0)), "a UDP length that is not the IP payload's"},
		{cut(segment, 10), "a header cut off by the snapshot length"},
		{cut(segment, 33), "a header cut off by the snapshot length"},
		{cut(withOptions, 45), "a header cut off by the snapshot length"},
		{raw(errorOf(options)), "an ICMP error that quotes IPv4 options"},
		{raw(errorOf(fragment)), "an ICMP error that quotes a fragment"},
		{raw(errorOf(gre)), "an ICMP error that quotes a tunnel (GRE)"},
		{raw(errorOf(segment[:10])), "an ICMP error that quotes an IP header that is cut off"},
		{raw(errorOf(segment[:27])), "an ICMP error that quotes a packet that is cut off in a header"},
		{raw(errorOf(withOptions[:45])), "an ICMP error that quotes a packet that is cut off in a header"},
		{raw(errorOf(append(slices.Clone(segment), 0))), "an ICMP error that quotes bytes behind a quoted packet"},
		{cut(errorOf(segment), 28+30), "an ICMP error that quotes a header cut off by the snapshot length"},
	} {
		var w notation.Writer
		text, err := w.AppendFrame([]byte("before\n"), &c.f)
		var cannot *notation.Error
		if !errors.As(err, &cannot) || cannot.What != c.want || string(text) != "before\n" {
			t.Errorf("%s: %v and %q", c.want, err, text)
			continue
		}
		good := raw(segment)
		text, err = w.AppendFrame(nil, &good)
		if want := "client isn 0\n0.000000 client > server S 0:0(0) win 0 ipid 0\n"; err != nil || string(text) != want {
			t.Errorf("after %s: %q, %v", c.want, text, err)
		}
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return v
}
