package notation_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"finack/decode"
	"finack/internal/craft"
	"finack/internal/notation"
)

// generator makes packets of every kind that a line can say.
type generator struct {
	*rand.Rand
	tb testing.TB
}

func (g *generator) ip(v6 bool) craft.IP {
	ip := craft.IP{ID: uint16(g.IntN(400)), TTL: 64}
	hosts := [...]string{"10.0.0.1", "10.0.0.2", "192.0.2.7", "127.0.0.1"}
	if v6 {
		hosts, ip.ID = [...]string{"2001:db8::1", "2001:db8::2", "::ffff:10.0.0.1", "::1"}, 0
	}
	ip.Src, ip.Dst = netip.MustParseAddr(hosts[g.IntN(4)]), netip.MustParseAddr(hosts[g.IntN(4)])
	if g.IntN(3) == 0 {
		ip.TTL, ip.TOS = uint8(g.IntN(256)), uint8(g.IntN(256))
		ip.ZeroTTL = ip.TTL == 0
	}
	return ip
}

func (g *generator) port() uint16 { return []uint16{80, 443, 40000, 40001, 0}[g.IntN(5)] }

// area returns what may lie between a TCP header's first 20 bytes and its end.
func (g *generator) area() []byte {
	b := make([]byte, 4*g.IntN(11))
	switch g.IntN(4) {
	case 0: // padding, or nothing but
	case 1:
		for i := range b {
			b[i] = byte(g.Uint32())
		}
	case 2:
		for i := range b {
			b[i] = byte(g.IntN(12)) // kinds and lengths that may be right
		}
	default:
		list := [...]string{
			"", "mss 1460,nop,wscale 7", "mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7", "nop,nop,TS val 1 ecr 2", "FO", "FO 0011223344556677",
			"254:f9890011,nop", "nop,nop,sack 5:6 10:20 4294967295:0", "mss 1460,eol", "eol", "nop,eol,eol,eol,eol,eol", "30:", "2:0102,2:010203,4:00",
		}
		opts, err := craft.ParseOptions(list[g.IntN(len(list))])
		if err != nil {
			g.tb.Fatal(err)
		}
		ip := g.ip(false)
		packet, err := craft.AppendTCP(nil, &ip, &craft.TCP{Options: opts}, nil)
		if err != nil {
			g.tb.Fatal(err)
		}
		return packet[40:]
	}
	return b
}

func (g *generator) length() int {
	if g.IntN(50) == 0 {
		return g.IntN(1 << 16)
	}
	return g.IntN(1500)
}

// plain returns a segment, a datagram or an echo, and how long its headers are.
func (g *generator) plain(ip *craft.IP, sum craft.Sum) (packet []byte, headers int) {
	header := 20
	if ip.Src.Is6() {
		header = 40
	}
	var err error
	switch n := g.length(); g.IntN(6) {
	case 0:
		headers = 8
		packet, err = craft.AppendUDP(nil, ip, &craft.UDP{SrcPort: g.port(), DstPort: g.port(), Sum: sum}, make([]byte, min(n, 65507)))
	case 1:
		headers = 8
		packet, err = craft.AppendEcho(nil, ip, &craft.Echo{Reply: g.IntN(2) == 0, ID: uint16(g.IntN(9)), Seq: uint16(g.IntN(3)), Sum: sum}, make([]byte, min(n, 65507)))
	default:
		tcp := craft.TCP{
			SrcPort: g.port(), DstPort: g.port(), Seq: g.Uint32(), Flags: decode.Flags(g.IntN(512)), Window: 512, Tail: string(g.area()), Sum: sum,
		}
		if g.IntN(2) == 0 {
			tcp.Seq, tcp.Ack, tcp.Flags = tcp.Seq&0xff00, g.Uint32()&0xff00, []decode.Flags{2, 0x12, 0x10, 0x18, 0x11, 0x14, 4}[g.IntN(7)]
		}
		if g.IntN(4) == 0 {
			tcp.Ack, tcp.Window, tcp.Urgent, tcp.Reserved = g.Uint32(), uint16(g.Uint32()), uint16(g.Uint32()), uint8(g.IntN(8))
		}
		headers = 20 + len(tcp.Tail)
		packet, err = craft.AppendTCP(nil, ip, &tcp, make([]byte, min(n, 65535-header-headers)))
	}
	if err != nil {
		g.tb.Fatal(err)
	}
	return packet, header + headers
}

// packet returns any packet; one in eight has a wrong checksum.
func (g *generator) packet() []byte {
	ip := g.ip(g.IntN(3) == 0)
	sum := craft.SumRight
	if g.IntN(8) == 0 {
		sum = craft.SumWrong
	}
	if g.IntN(5) > 0 {
		packet, _ := g.plain(&ip, sum)
		return packet
	}
	m := craft.ICMP{Type: uint8(g.IntN(256)), Code: uint8(g.IntN(4)), Sum: sum}
	if g.IntN(2) == 0 {
		m.Rest = g.Uint32()
	}
	data := make([]byte, g.IntN(100))
	if g.IntN(3) > 0 {
		m.Type = []uint8{3, 4, 5, 11, 12}[g.IntN(5)]
		if ip.Src.Is6() {
			m.Type = uint8(1 + g.IntN(4))
		}
		about := g.ip(ip.Src.Is6())
		about.ID = 0
		if g.IntN(2) == 0 {
			about.Src, about.Dst = ip.Dst, ip.Src
		}
		quote, headers := g.plain(&about, craft.SumRight)
		least := 28
		if ip.Src.Is6() {
			least = 48
		}
		data = quote[:least]
		if g.IntN(2) == 0 {
			data = quote[:min(headers+g.IntN(len(quote)-headers+1), 60000)]
		}
	}
	packet, err := craft.AppendICMP(nil, &ip, &m, data)
	if err != nil {
		g.tb.Fatal(err)
	}
	return packet
}

// links wrap an IP packet in headers of each kind of link, with the padding
// that short Ethernet frames have.
func (g *generator) frame(packet []byte) decode.Frame {
	ether, family := uint16(0x0800), byte(2)
	if packet[0]>>4 == 6 {
		ether, family = 0x86dd, 10
	}
	tag := binary.BigEndian.AppendUint16
	link, b := decode.LinkRaw, []byte(nil)
	switch g.IntN(6) {
	case 0:
		link, b = decode.LinkEthernet, tag([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, ether)
	case 1: // 0x45 and 0x60 in an address are no IP header
		link, b = decode.LinkEthernet, tag([]byte{0x45, 0, 0, 40, 0, 1, 0x60, 0, 0, 0, 0, 2, 0x81, 0, 0, 7}, ether)
	case 2:
		link, b = decode.LinkSLL, tag([]byte{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0}, ether)
	case 3:
		link, b = decode.LinkSLL2, append(tag(nil, ether), 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0)
	case 4:
		link, b = decode.LinkNull, []byte{family, 0, 0, 0}
		if family == 10 {
			b[0] = 30
		}
	}
	f := decode.Frame{Link: link, Checksums: decode.ChecksumsComplete, Data: append(b, packet...)}
	if link == decode.LinkEthernet {
		f.Data = append(f.Data, make([]byte, max(0, 60-len(f.Data)))...)
	}
	f.Wire = len(f.Data)
	return f
}

// kept returns an IP packet without what a line does not keep: the IP ID is
// renamed, and with it the header checksum.
func kept(packet []byte) []byte {
	b := slices.Clone(packet)
	if b[0]>>4 == 4 {
		clear(b[4:6])
		clear(b[10:12])
	}
	return b
}

// Any packets, on any link, become lines that become the same packets, byte for
// byte, and the same lines again. An IP ID is zero, or that of an earlier
// packet, where it was so before.
func TestRandomPackets(t *testing.T) {
	for seed := range uint64(300) {
		g := &generator{rand.New(rand.NewPCG(seed, 1)), t}
		var packets [][]byte
		var frames []decode.Frame
		now := decode.Timestamp(1e18)
		for range 100 {
			packet := g.packet()
			f := g.frame(packet)
			now = now.Add(time.Duration(g.IntN(3000)-300) * time.Microsecond)
			f.Time = now
			packets, frames = append(packets, packet), append(frames, f)
		}
		var w notation.Writer
		var text []byte
		for i := range frames {
			var err error
			if text, err = w.AppendFrame(text, &frames[i]); err != nil {
				t.Fatalf("seed %d, packet %d: %v\n%s", seed, i, err, craft.AppendDump(nil, packets[i][:min(len(packets[i]), 120)]))
			}
		}
		lines := parse(t, string(text))
		if len(lines) != len(packets) {
			t.Fatalf("%d packets became %d lines", len(packets), len(lines))
		}
		ids := [2]map[string]int{{}, {}}
		for i, l := range lines {
			got := l.Frame.Data
			if !bytes.Equal(kept(got), kept(packets[i])) {
				t.Fatalf("seed %d, packet %d: %s\n%s\nis not\n%s", seed, i, l.Text, craft.AppendDump(nil, got[:min(len(got), 120)]), craft.AppendDump(nil, packets[i][:min(len(packets[i]), 120)]))
			}
			if l.Time.Sub(lines[0].Time) != frames[i].Time.Sub(frames[0].Time) {
				t.Fatalf("seed %d, packet %d: %s: %v, not %v", seed, i, l.Text, l.Time.Sub(lines[0].Time), frames[i].Time.Sub(frames[0].Time))
			}
			if got[0]>>4 != 4 {
				continue
			}
			if a, b := firstUse(ids[0], packets[i], i), firstUse(ids[1], got, i); a != b {
				t.Fatalf("seed %d, packet %d: %s: its IP ID is that of packet %d, not %d", seed, i, l.Text, b, a)
			}
		}
		if again := write(t, lines); again != string(text) {
			t.Fatalf("seed %d: written again\n%s\nis\n%s", seed, text, again)
		}
	}
}

// firstUse returns which packet of the same direction had the IP ID of the i-th
// first, -1 if it is zero.
func firstUse(ids map[string]int, packet []byte, i int) int {
	if packet[4] == 0 && packet[5] == 0 {
		return -1
	}
	k := fmt.Sprintf("%x %x", packet[4:6], packet[12:20])
	if _, ok := ids[k]; !ok {
		ids[k] = i
	}
	return ids[k]
}
