package decode

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestFlagsOfASegment(t *testing.T) {
	for bit := range 9 {
		b := tcp4(t)
		binary.BigEndian.PutUint16(b[32:], 8<<12|1<<bit)
		got, err := decode(t, frame(LinkRaw, b))
		if want := Flags(1 << bit); got.Segment.Flags != want || err != nil {
			t.Errorf("bit %d: flags %v, want %v, error %v", bit, got.Segment.Flags, want, err)
		}
		cut := frame(LinkRaw, b[:34])
		cut.Wire = len(b)
		got, err = decode(t, cut)
		if want := Flags(1 << bit); got.Segment.Flags != want || err != nil {
			t.Errorf("bit %d, cut: flags %v, want %v, error %v", bit, got.Segment.Flags, want, err)
		}
	}
}

func TestTCPOptions(t *testing.T) {
	many := make([]byte, 40)
	for i := range many {
		many[i] = 1
	}
	for _, tt := range []struct {
		name    string
		options []byte
		want    Segment
	}{
		{"none", nil, Segment{}},
		{
			"Linux's SYN",
			[]byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7},
			Segment{Opts: OptMSS | OptSACKPermitted | OptTimestamps | OptWScale, MSS: 1460, WScale: 7, TSVal: 1},
		},
		{"SACK", []byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, Segment{Opts: OptSACK, SACK: [2]uint32{1, 2}}},
		{"timestamps after SACK", []byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4}, Segment{Opts: OptSACK | OptTimestamps, SACK: [2]uint32{1, 2}, TSVal: 3, TSEcr: 4}},
		{"fast open, asking for a cookie", []byte{34, 2, 1, 1}, Segment{Opts: OptFastOpen}},
		{"fast open with a cookie", []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, Segment{Opts: OptFastOpen}},
		{"fast open, experimental", []byte{254, 4, 0xf9, 0x89}, Segment{Opts: OptFastOpen}},
		{"another experiment", []byte{254, 4, 0xe2, 0xd4}, Segment{}},
		{"MPTCP", []byte{30, 4, 0, 0x81}, Segment{Opts: OptMPTCP}},
		{"unknown", []byte{99, 4, 1, 2}, Segment{}},
		{"what follows the end is padding", []byte{0, 2, 4, 5}, Segment{}},
		{"forty one-byte options", many, Segment{}},
		{"an MSS of the wrong length is none", []byte{2, 3, 1, 1}, Segment{}},
		{"timestamps of the wrong length are none", []byte{8, 9, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1}, Segment{}},
		{"length zero", []byte{2, 4, 5, 0xb4, 3, 0, 7, 1}, Segment{Opts: OptBad | OptMSS, MSS: 1460}},
		{"length one", []byte{3, 1, 7, 1}, Segment{Opts: OptBad}},
		{"length beyond the header", []byte{2, 4, 5, 0xb4, 8, 10, 0, 1}, Segment{Opts: OptBad | OptMSS, MSS: 1460}},
		{"no room for a length", []byte{1, 1, 1, 8}, Segment{Opts: OptBad}},
	} {
		header := tcp4(t)[20:40]
		header[12] = byte(5+len(tt.options)/4) << 4
		header[13] = byte(SYN)
		got, err := decode(t, frame(LinkRaw, in4(t, 6, header, tt.options, []byte(hello))))
		tt.want.Seq, tt.want.Ack, tt.want.Window, tt.want.Urgent = 0x11223344, 0x55667788, 502, 7
		tt.want.Flags = SYN
		if diff := cmp.Diff(tt.want, got.Segment); err != nil || diff != "" || got.Proto != ProtoTCP || string(got.Payload) != hello {
			t.Errorf("%s: payload %q, error %v (-want +got)\n%s", tt.name, got.Payload, err, diff)
		}
	}
}

func TestUDP(t *testing.T) {
	for _, data := range [][]byte{udp4(t, 53, []byte(hello)), udp6(t, 53, []byte(hello))} {
		got, err := decode(t, frame(LinkRaw, data))
		if err != nil || got.Proto != ProtoUDP || got.Src.Port != 5353 || got.Dst.Port != 53 ||
			string(got.Payload) != hello || got.Len != len(hello) || got.BadSum || got.Segment != (Segment{}) {
			t.Errorf("%+v, error %v", got, err)
		}
	}
}

func TestICMP(t *testing.T) {
	icmp6 := func(kind, code uint8, body ...[]byte) []byte {
		ip, icmp := ip6Layer(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return serialize(t, ip, icmp, gopacket.Payload(cat(body...)))
	}
	icmp4 := func(kind, code uint8, body ...[]byte) []byte {
		return serialize(t, ip4Layer(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code)}, gopacket.Payload(cat(body...)))
	}
	tcp, tcpV6, udp := wantTCP4(), wantTCP6(), wantTCP4()
	udp.Src.Port, udp.Dst.Port = 5353, 53
	hostsOnly := func(p Packet) (src, dst Endpoint) {
		p.Src.Port, p.Dst.Port = 0, 0
		return p.Src, p.Dst
	}
	src4, dst4 := hostsOnly(tcp)
	later := tcp4(t)
	later[7] = 1 // an offset
	pad := make([]byte, 4)
	for _, tt := range []struct {
		name string
		data []byte
		want ICMP
	}{
		{"echo", serialize(t, ip4Layer(1), &layers.ICMPv4{TypeCode: 8 << 8, Id: 7, Seq: 3}, gopacket.Payload(hello)), ICMP{Type: 8, ID: 7, Seq: 3, Echo: true}},
		{"echo reply", serialize(t, ip4Layer(1), &layers.ICMPv4{TypeCode: 0, Id: 7, Seq: 3}), ICMP{Type: 0, ID: 7, Seq: 3, Echo: true}},
		{"router advertisement has no ID", serialize(t, ip4Layer(1), &layers.ICMPv4{TypeCode: 9 << 8, Id: 7, Seq: 3}), ICMP{Type: 9}},
		{"ICMPv6 echo", icmp6(128, 0, []byte{0, 7, 0, 3}), ICMP{Type: 128, ID: 7, Seq: 3, Echo: true}},
		{"ICMPv6 echo reply", icmp6(129, 0, []byte{0, 7, 0, 3}), ICMP{Type: 129, ID: 7, Seq: 3, Echo: true}},
		{"neighbour solicitation", icmp6(135, 0, make([]byte, 20)), ICMP{Type: 135}},
		{
			"port unreachable, UDP", icmp4(3, 3, udp4(t, 53, []byte(hello))),
			ICMP{Type: 3, Code: 3, Error: true, QuotedProto: ProtoUDP, QuotedSrc: udp.Src, QuotedDst: udp.Dst},
		},
		{
			"host unreachable, eight bytes of TCP", icmp4(3, 1, tcp4(t)[:28]),
			ICMP{Type: 3, Code: 1, Error: true, QuotedProto: ProtoTCP, QuotedSrc: tcp.Src, QuotedDst: tcp.Dst, QuotedSeq: 0x11223344},
		},
		{
			"time exceeded, four bytes of TCP", icmp4(11, 0, tcp4(t)[:24]),
			ICMP{Type: 11, Error: true, QuotedProto: ProtoTCP, QuotedSrc: tcp.Src, QuotedDst: tcp.Dst},
		},
		{"source quench, three bytes of TCP", icmp4(4, 0, tcp4(t)[:23]), ICMP{Type: 4, Error: true, QuotedSrc: src4, QuotedDst: dst4}},
		{"redirect, a later fragment", icmp4(5, 1, later), ICMP{Type: 5, Code: 1, Error: true, QuotedSrc: src4, QuotedDst: dst4}},
		{"parameter problem, half an IP header", icmp4(12, 0, tcp4(t)[:19]), ICMP{Type: 12, Error: true}},
		{"unreachable, nothing quoted", icmp4(3, 0), ICMP{Type: 3, Error: true}},
		{
			"an echo that was not answered", icmp4(3, 1, in4(t, 1, []byte{8, 0, 0, 0, 0, 7, 0, 3})),
			ICMP{Type: 3, Code: 1, Error: true, QuotedProto: ProtoICMP, QuotedSrc: src4, QuotedDst: dst4, QuotedID: 7},
		},
		{
			"ICMPv6 port unreachable, after an extension header", icmp6(1, 4, pad, in6(t, 60, []byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp6(t)[40:])),
			ICMP{Type: 1, Code: 4, Error: true, QuotedProto: ProtoTCP, QuotedSrc: tcpV6.Src, QuotedDst: tcpV6.Dst, QuotedSeq: 0x11223344},
		},
		{
			"packet too big", icmp6(2, 0, pad, tcp6(t)[:48]),
			ICMP{Type: 2, Error: true, QuotedProto: ProtoTCP, QuotedSrc: tcpV6.Src, QuotedDst: tcpV6.Dst, QuotedSeq: 0x11223344},
		},
		{
			"ICMPv6 time exceeded", icmp6(3, 0, pad, tcp6(t)[:44]),
			ICMP{Type: 3, Error: true, QuotedProto: ProtoTCP, QuotedSrc: tcpV6.Src, QuotedDst: tcpV6.Dst},
		},
		{"ICMPv6 parameter problem, garbage", icmp6(4, 0, pad, make([]byte, 60)), ICMP{Type: 4, Error: true}},
		{"ICMPv6 type 5 is no error", icmp6(5, 0, pad, tcp6(t)), ICMP{Type: 5}},
	} {
		f := frame(LinkRaw, tt.data)
		got, err := decode(t, f)
		if diff := cmp.Diff(tt.want, got.ICMP); err != nil || diff != "" {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
		want := ProtoICMP
		if got.Version == 6 {
			want = ProtoICMPv6
		}
		if got.Proto != want || got.Src.Port != 0 || got.Dst.Port != 0 || got.BadSum {
			t.Errorf("%s: %+v", tt.name, got)
		}
		f.Data[len(f.Data)-1] ^= 1
		if got, _ := decode(t, f); !got.BadSum {
			t.Errorf("%s: a wrong checksum was not seen", tt.name)
		}
	}
}

func TestBadSum(t *testing.T) {
	none4, none6 := udp4(t, 53, []byte(hello)), udp6(t, 53, []byte(hello))
	none4[26], none4[27] = 0, 0
	none6[46], none6[47] = 0, 0
	flip := func(b []byte) []byte { b[len(b)-3] ^= 0x20; return b }
	padded := cat(tcp4(t), []byte("rubbish"))
	fragment := flip(tcp4(t))
	fragment[6] = 0x20
	tso := flip(tcp4(t))
	tso[2], tso[3] = 0, 0
	for _, tt := range []struct {
		name string
		data []byte
		sums Checksums
		cut  int
		want bool
	}{
		{"right", tcp4(t), ChecksumsComplete, 0, false},
		{"right, padding", padded, ChecksumsComplete, 0, false},
		{"wrong", flip(tcp4(t)), ChecksumsComplete, 0, true},
		{"wrong, IPv6", flip(tcp6(t)), ChecksumsComplete, 0, true},
		{"wrong, UDP", flip(udp4(t, 53, []byte(hello))), ChecksumsComplete, 0, true},
		{"wrong, left to the hardware", flip(tcp4(t)), ChecksumsPartial, 0, false},
		{"wrong, nothing known", flip(tcp4(t)), ChecksumsUnknown, 0, false},
		{"wrong, cut", flip(tcp4(t)), ChecksumsComplete, 1, false},
		{"wrong, fragment", fragment, ChecksumsComplete, 0, false},
		{"wrong, TSO", tso, ChecksumsComplete, 0, false},
		{"none, UDP over IPv4", none4, ChecksumsComplete, 0, false},
		{"none, UDP over IPv6", none6, ChecksumsComplete, 0, true},
	} {
		f := frame(LinkRaw, tt.data)
		f.Checksums = tt.sums
		f.Data = f.Data[:len(f.Data)-tt.cut]
		got, err := decode(t, f)
		if err != nil || got.BadSum != tt.want {
			t.Errorf("%s: BadSum %v, want %v, error %v", tt.name, got.BadSum, tt.want, err)
		}
	}
}

// The sum of all lengths and of carries in every place, against RFC 1071's own loop.
func TestSumIsTheInternetChecksum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	naive := func(b []byte) uint16 {
		var s uint32
		for i := 0; i < len(b); i += 2 {
			w := uint32(b[i]) << 8
			if i+1 < len(b) {
				w |= uint32(b[i+1])
			}
			s += w
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		return uint16(s)
	}
	for n := range 300 {
		for _, fill := range []func() byte{
			func() byte { return byte(rng.Uint32()) },
			func() byte { return 0xff },
			func() byte { return byte(-(rng.Uint32() & 1)) },
			func() byte { return 0 },
		} {
			b := make([]byte, n)
			for i := range b {
				b[i] = fill()
			}
			got := fold(sum(0, b))
			if want := naive(b); got>>8|got<<8 != want {
				t.Fatalf("%x: %#04x, want %#04x", b, got>>8|got<<8, want)
			}
		}
	}
}
