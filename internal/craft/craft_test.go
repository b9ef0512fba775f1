package craft

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"finack/decode"
)

// sample is a packet and what it was made of. One of TCP, UDP and Echo is set,
// or none.
type sample struct {
	IP       IP
	TCP      *TCP
	UDP      *UDP
	Echo     *Echo
	Protocol uint8
	Payload  []byte

	packet []byte
}

// String returns what a failure needs: the packet, as far as its headers reach.
func (s sample) String() string {
	return fmt.Sprintf("%d bytes % x", len(s.packet), s.packet[:min(len(s.packet), 100)])
}

func (s *sample) build(dst []byte) (b []byte, err error) {
	switch {
	case s.TCP != nil:
		return AppendTCP(dst, &s.IP, s.TCP, s.Payload)
	case s.UDP != nil:
		return AppendUDP(dst, &s.IP, s.UDP, s.Payload)
	case s.Echo != nil:
		return AppendEcho(dst, &s.IP, s.Echo, s.Payload)
	default:
		return AppendIP(dst, &s.IP, s.Protocol, s.Payload)
	}
}

var (
	ip4 = IP{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}
	ip6 = IP{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::ffff:2")}
)

// everyOption has options of each kind, in segments as full as they can be.
var everyOption = []string{
	"", "mss 1460", "mss 0,eol", "mss 65535,nop,wscale 14,sackOK,TS val 4294967295 ecr 0",
	"nop,nop,TS val 1 ecr 2,nop,nop,sack 5:6 10:20 4294967295:0", "wscale 0,wscale 255",
	"nop", "eol,nop,nop", "sackOK,FO", "FO 0011223344556677,nop,nop",
	"254:f9890011,nop", "30:", "19:00112233445566778899aabbccddeeff", "2:0102,2:010203,4:00",
	"FO 00112233445566778899aabbccddeeff,nop,mss 1,wscale 1,TS val 1 ecr 1",
}

// samples are packets of every kind, both versions and all that can be asked for.
func samples(t testing.TB) []sample {
	var list []sample
	r := rand.New(rand.NewPCG(1, 2))
	payload := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, base := range []IP{ip4, ip6} {
		varied := func(i int) IP {
			ip := base
			ip.TTL, ip.TOS = uint8(i), uint8(i*7)
			if ip.Src.Is4() {
				ip.ID, ip.DF = uint16(i*257), i%3 == 0
			} else {
				ip.FlowLabel = uint32(i*0x1235) & 0xfffff
			}
			return ip
		}
		for flags := range decode.Flags(flagBits + 1) {
			i := int(flags)
			options, err := ParseOptions(everyOption[i%len(everyOption)])
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, sample{IP: varied(i), TCP: &TCP{
				SrcPort: uint16(40000 + i), DstPort: 80, Seq: r.Uint32(), Ack: r.Uint32(), Flags: flags,
				Window: uint16(r.Uint32()), Urgent: uint16(i * 3), Options: options, Sum: Sum(i % 5 / 3),
			}, Payload: payload(i % 7)})
		}
		for n := range 40 {
			for _, sum := range []Sum{SumRight, SumWrong, SumZero} {
				i := 3*n + int(sum)
				list = append(list,
					sample{IP: varied(i), UDP: &UDP{SrcPort: uint16(1000 + i), DstPort: 9, Sum: sum}, Payload: payload(n)},
					sample{IP: varied(i), Echo: &Echo{Reply: n%2 == 1, ID: uint16(r.Uint32()), Seq: uint16(i), Sum: sum}, Payload: payload(n)})
			}
			list = append(list, sample{IP: varied(n), Protocol: 253, Payload: payload(n)})
		}
		for _, sum := range []Sum{SumWrong, SumZero} {
			ip := varied(9)
			if ip.Src.Is4() {
				ip.Sum = sum
			}
			list = append(list, sample{IP: ip, TCP: &TCP{SrcPort: 1, DstPort: 2}})
		}
		// As long as they can be.
		full := 65535 - 8
		if base.Src.Is4() {
			full -= 20
		}
		list = append(list, sample{IP: base, UDP: &UDP{SrcPort: 7, DstPort: 9}, Payload: payload(full)})
	}
	for i := range list {
		var err error
		if list[i].packet, err = list[i].build(nil); err != nil {
			t.Fatalf("%+v: %v", list[i], err)
		}
	}
	return list
}

func (s *sample) ttl() uint8 {
	if s.IP.TTL == 0 {
		return 64
	}
	return s.IP.TTL
}

// gopacket reads back every field.
func TestGopacketReadsItBack(t *testing.T) {
	for _, s := range samples(t) {
		first := layers.LayerTypeIPv4
		if s.IP.Src.Is6() {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(s.packet, first, gopacket.Default)
		if e := p.ErrorLayer(); e != nil && s.TCP == nil && s.Protocol == 0 { // TCP's options may be senseless
			t.Fatalf("%+v: %v", s, e.Error())
		}
		got := sample{Protocol: s.Protocol}
		var network gopacket.NetworkLayer
		var payload []byte
		switch ip := p.Layers()[0].(type) {
		case *layers.IPv4:
			src, _ := netip.AddrFromSlice(ip.SrcIP)
			dst, _ := netip.AddrFromSlice(ip.DstIP)
			got.IP = IP{Src: src, Dst: dst, TTL: ip.TTL, TOS: ip.TOS, ID: ip.Id, DF: ip.Flags == layers.IPv4DontFragment}
			if ip.FragOffset != 0 || ip.Flags&^layers.IPv4DontFragment != 0 || ip.Length != uint16(len(s.packet)) {
				t.Errorf("%+v: %+v", s, ip)
			}
			got.IP.Sum = sumOf(ip.Checksum, again(t, ip, func(x *layers.IPv4) { x.Checksum = 0 }).Checksum)
			got.Protocol, network, payload = uint8(ip.Protocol), ip, ip.Payload
		case *layers.IPv6:
			src, _ := netip.AddrFromSlice(ip.SrcIP)
			dst, _ := netip.AddrFromSlice(ip.DstIP)
			got.IP = IP{Src: src, Dst: dst, TTL: ip.HopLimit, TOS: ip.TrafficClass, FlowLabel: ip.FlowLabel}
			if int(ip.Length) != len(s.packet)-40 {
				t.Errorf("%+v: %+v", s, ip)
			}
			got.Protocol, network, payload = uint8(ip.NextHeader), ip, ip.Payload
		}
		if s.TCP != nil || s.UDP != nil || s.Echo != nil {
			got.Protocol = s.Protocol // it led there
		}
		for _, layer := range p.Layers()[1:] {
			right := sumByBytes(network, layer)
			switch l := layer.(type) {
			case *layers.TCP:
				got.TCP = &TCP{
					SrcPort: uint16(l.SrcPort), DstPort: uint16(l.DstPort), Seq: l.Seq, Ack: l.Ack, Window: l.Window, Urgent: l.Urgent,
					Sum: sumOf(l.Checksum, right), Options: s.TCP.Options, // see TestOptionsOnTheWire
				}
				for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR, l.NS} {
					if set {
						got.TCP.Flags |= 1 << i
					}
				}
				payload = l.Payload
			case *layers.UDP:
				if int(l.Length) != 8+len(s.Payload) {
					t.Errorf("%+v: UDP length %d", s, l.Length)
				}
				if right == 0 {
					right = 0xffff // gopacket forgets RFC 768's exception
				}
				got.UDP = &UDP{SrcPort: uint16(l.SrcPort), DstPort: uint16(l.DstPort), Sum: sumOf(l.Checksum, right)}
				payload = l.Payload
			case *layers.ICMPv4:
				got.Echo = &Echo{Reply: l.TypeCode.Type() == layers.ICMPv4TypeEchoReply, ID: l.Id, Seq: l.Seq, Sum: sumOf(l.Checksum, right)}
				payload = l.Payload
			case *layers.ICMPv6:
				got.Echo = &Echo{Reply: l.TypeCode.Type() == layers.ICMPv6TypeEchoReply, Sum: sumOf(l.Checksum, right)}
				payload = l.Payload
			case *layers.ICMPv6Echo:
				got.Echo.ID, got.Echo.Seq = l.Identifier, l.SeqNumber
				payload = payload[4:]
			}
		}
		got.Payload = payload
		want := s
		want.IP.TTL = s.ttl()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(sample{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("gopacket reads something else (-made +read):\n%s", diff)
		}
	}
}

// sumOf says which checksum a header has, when right would be right.
func sumOf(have, right uint16) Sum {
	switch have {
	case right:
		return SumRight
	case 0:
		return SumZero
	default:
		return SumWrong
	}
}

// again returns a header after it was serialized anew, checksum and all.
func again[L any, P interface {
	*L
	gopacket.SerializableLayer
}](t *testing.T, layer P, reset func(P),
) P {
	t.Helper()
	l := *layer
	reset(&l)
	buf := gopacket.NewSerializeBuffer()
	if err := P(&l).SerializeTo(buf, gopacket.SerializeOptions{ComputeChecksums: true}); err != nil {
		t.Fatal(err)
	}
	return &l
}

// sumByBytes is the checksum of a transport layer, added up a byte at a time;
// ICMP's is without a pseudo-header.
func sumByBytes(ip gopacket.NetworkLayer, layer gopacket.Layer) uint16 {
	at, protocol := 0, uint32(0)
	switch layer.LayerType() {
	case layers.LayerTypeTCP:
		at, protocol = 16, 6
	case layers.LayerTypeUDP:
		at, protocol = 6, 17
	case layers.LayerTypeICMPv6:
		at, protocol = 2, 58
	case layers.LayerTypeICMPv4:
		at = 2
	default:
		return 0
	}
	b := slices.Concat(layer.LayerContents(), layer.LayerPayload())
	b[at], b[at+1] = 0, 0
	sum := wordSum(b)
	if protocol != 0 {
		src, dst := ip.NetworkFlow().Endpoints()
		sum += wordSum(slices.Concat(src.Raw(), dst.Raw())) + protocol + uint32(len(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// wordSum adds words a byte at a time, unlike add.
func wordSum(b []byte) (sum uint32) {
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	return sum
}

// Package decode, which reads what others capture, agrees too.
func TestDecodeReadsItBack(t *testing.T) {
	var d decode.Decoder
	var p decode.Packet
	for _, s := range samples(t) {
		f := decode.Frame{Link: decode.LinkRaw, Data: s.packet, Wire: len(s.packet), Checksums: decode.ChecksumsComplete}
		if err := d.Decode(&f, &p); err != nil {
			t.Errorf("%+v: %v", s, err)
			continue
		}
		want := decode.Packet{
			Version: 4, Proto: decode.Proto(s.Protocol), TTL: s.ttl(), IPID: uint32(s.IP.ID),
			Src: decode.EndpointOf(netip.AddrPortFrom(s.IP.Src, 0)), Dst: decode.EndpointOf(netip.AddrPortFrom(s.IP.Dst, 0)),
			Len: len(s.Payload), Payload: s.Payload,
		}
		if s.IP.Src.Is6() {
			want.Version = 6
		}
		switch {
		case s.TCP != nil:
			want.Proto, want.Src.Port, want.Dst.Port = decode.ProtoTCP, s.TCP.SrcPort, s.TCP.DstPort
			want.BadSum = s.TCP.Sum != SumRight
			want.Segment = p.Segment // its options: see TestOptionsOnTheWire
			want.Segment.Seq, want.Segment.Ack, want.Segment.Flags = s.TCP.Seq, s.TCP.Ack, s.TCP.Flags
			want.Segment.Window, want.Segment.Urgent = s.TCP.Window, s.TCP.Urgent
		case s.UDP != nil:
			want.Proto, want.Src.Port, want.Dst.Port = decode.ProtoUDP, s.UDP.SrcPort, s.UDP.DstPort
			want.BadSum = s.UDP.Sum == SumWrong || s.UDP.Sum == SumZero && want.Version == 6
		case s.Echo != nil:
			want.Proto, want.ICMP = decode.ProtoICMP, decode.ICMP{Type: 8, Echo: true, ID: s.Echo.ID, Seq: s.Echo.Seq}
			if s.Echo.Reply {
				want.ICMP.Type = 0
			}
			if want.Version == 6 {
				want.Proto, want.ICMP.Type = decode.ProtoICMPv6, 128
				if s.Echo.Reply {
					want.ICMP.Type = 129
				}
			}
			want.BadSum = s.Echo.Sum != SumRight
		}
		if diff := cmp.Diff(want, p, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("decode reads something else (-made +read):\n%s", diff)
		}
	}
}

// Options are on the wire what RFC 9293, 7323, 2018 and 7413 say, bytes written
// by hand from their figures, and padded with end-of-options to whole words.
func TestOptionsOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		text string
		wire string
	}{
		{"", ""},
		{"mss 1460", "\x02\x04\x05\xb4"},
		{"wscale 7", "\x03\x03\x07\x00"},
		{"nop,wscale 7", "\x01\x03\x03\x07"},
		{"sackOK", "\x04\x02\x00\x00"},
		{"TS val 16909060 ecr 84281096", "\x08\x0a\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00"},
		{"sack 1:2 4294967295:16909060", "\x05\x12\x00\x00\x00\x01\x00\x00\x00\x02\xff\xff\xff\xff\x01\x02\x03\x04\x00\x00"},
		{"FO", "\x22\x02\x00\x00"},
		{"FO 0102030405060708", "\x22\x0a\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00"},
		{"eol", "\x00\x00\x00\x00"},
		{"254:f989", "\xfe\x04\xf9\x89"},
		{"mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7", "\x02\x04\x05\xb4\x04\x02\x08\x0a\x00\x00\x00\x07\x00\x00\x00\x00\x01\x03\x03\x07"},
	} {
		options, err := ParseOptions(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := AppendTCP(nil, &ip4, &TCP{Options: options}, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b[40 : len(b)-1]); got != tt.wire || int(b[32]>>4) != 5+len(tt.wire)/4 {
			t.Errorf("%s: % x, data offset %d, want % x", tt.text, got, b[32]>>4, tt.wire)
		}
	}
}

// A checksum of zero is a UDP datagram without one: where the sum comes out as
// zero, it is sent as all ones, and where a wrong one would be zero, another.
func TestUDPChecksumIsNeverZeroUnlessAsked(t *testing.T) {
	seen := map[Sum]bool{}
	for word := range 1 << 16 {
		payload := []byte{byte(word >> 8), byte(word)}
		for _, ip := range []*IP{&ip4, &ip6} {
			right, err := AppendUDP(nil, ip, &UDP{SrcPort: 1, DstPort: 2}, payload)
			if err != nil {
				t.Fatal(err)
			}
			wrong, err := AppendUDP(nil, ip, &UDP{SrcPort: 1, DstPort: 2, Sum: SumWrong}, payload)
			if err != nil {
				t.Fatal(err)
			}
			at := len(right) - 4
			r, w := right[at:at+2], wrong[at:at+2]
			if bytes.Equal(r, []byte{0, 0}) || bytes.Equal(w, []byte{0, 0}) || bytes.Equal(r, w) {
				t.Fatalf("payload %x: right % x, wrong % x", payload, r, w)
			}
			if bytes.Equal(r, []byte{0xff, 0xff}) {
				seen[SumRight] = true
			}
			if bytes.Equal(r, []byte{0, 1}) {
				seen[SumWrong] = true
			}
		}
	}
	if !seen[SumRight] || !seen[SumWrong] {
		t.Errorf("the cases did not come up: %v", seen)
	}
}

func TestRefusals(t *testing.T) {
	dst := []byte("before")
	long := make([]byte, 65536)
	mixed := IP{Src: ip4.Src, Dst: ip6.Dst}
	tooMany := Options{TS(1, 2), TS(1, 2), TS(1, 2), TS(1, 2), {Kind: NoOperation}}
	for name, tt := range map[string]struct {
		sample
		want error
	}{
		"mixed versions": {sample{IP: mixed, TCP: &TCP{}}, ErrAddress},
		"no addresses":   {sample{Echo: &Echo{}}, ErrAddress},
		"41 bytes":       {sample{IP: ip4, TCP: &TCP{Options: tooMany}}, ErrOptions},
		"IPv4 TCP":       {sample{IP: ip4, TCP: &TCP{}, Payload: long[:65535-39]}, ErrTooLong},
		"IPv4 UDP":       {sample{IP: ip4, UDP: &UDP{}, Payload: long[:65535-27]}, ErrTooLong},
		"IPv4":           {sample{IP: ip4, Payload: long[:65535-19]}, ErrTooLong},
		"IPv6 UDP":       {sample{IP: ip6, UDP: &UDP{}, Payload: long[:65535-7]}, ErrTooLong},
		"IPv6 echo":      {sample{IP: ip6, Echo: &Echo{}, Payload: long[:65535-7]}, ErrTooLong},
		"IPv6":           {sample{IP: ip6, Payload: long}, ErrTooLong},
	} {
		got, err := tt.build(dst)
		if !errors.Is(err, tt.want) || !bytes.Equal(got, dst) {
			t.Errorf("%s: %q, %v, want %v", name, got, err, tt.want)
		}
	}
}

// What is appended does not depend on where, and costs no allocation.
func TestAppendsWithoutAllocating(t *testing.T) {
	list := samples(t)
	buf := make([]byte, 0, 1<<17)
	for _, s := range list {
		b, err := s.build(append(buf, "before"...))
		if err != nil || string(b) != "before"+string(s.packet) {
			t.Fatalf("%+v: %v", s, err)
		}
	}
	if n := testing.AllocsPerRun(2, func() {
		for i := range list {
			if _, err := list[i].build(buf); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d packets", n, len(list))
	}
}

func TestParseOptionsSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"mss":                                 `TCP option "mss": want mss N, wscale N`,
		"mss 65536":                           `TCP option "mss 65536": "65536" is not a number from 0 to 65535`,
		"wscale 256":                          `"256" is not a number from 0 to 255`,
		"nop,,nop":                            `TCP option "": want`,
		"TS val -1 ecr 0":                     `"-1" is not a number from 0 to 4294967295`,
		"TS val 1 ecr x":                      `"x" is not a number`,
		"sack 1":                              `block "1": want LEFT:RIGHT`,
		"sack 1:x":                            `"x" is not a number`,
		"FO 012":                              `"012" is not hexadecimal`,
		"1:00":                                `kind 1 has no data: write nop or eol`,
		"256:00":                              `"256" is not a number from 0 to 255`,
		"253:zz":                              `"zz" is not hexadecimal`,
		"FO " + zeros(39):                     `TCP options take more than 40 bytes: 41`,
		"sack 1:2 3:4 5:6 7:8 9:":             `"" is not a number`,
		"TS val 1 ecr 1,sack 1:2 3:4 5:6 7:8": `TCP options take more than 40 bytes: 44`,
	} {
		if opts, err := ParseOptions(text); opts != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, %v, want %q", text, opts, err, want)
		}
	}
}

func zeros(n int) string { return strings.Repeat("00", n) }

func TestOptionsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		var opts Options
		for opts.size() < maxOptions && r.IntN(6) > 0 {
			kinds := []OptionKind{0, 1, 2, 3, 4, 5, 8, 34, OptionKind(r.UintN(256))}
			o := Option{Kind: kinds[r.IntN(len(kinds))]}
			if o.Kind > NoOperation {
				sizes := []int{0, 1, 2, 8, 16, r.IntN(38)}
				data := make([]byte, sizes[r.IntN(len(sizes))])
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				o.Data = string(data)
			}
			opts = append(opts, o)
		}
		if opts.size() > maxOptions {
			continue
		}
		back, err := ParseOptions(opts.String())
		if err != nil || !slices.Equal(back, opts) {
			t.Fatalf("%q: %v, %v, want %v", opts.String(), back, err, opts)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range everyOption {
		f.Add(s)
	}
	f.Add("sack 1:2 ,  FO ab")
	f.Fuzz(func(t *testing.T, s string) {
		opts, err := ParseOptions(s)
		if err != nil {
			return
		}
		text := opts.String()
		again, err := ParseOptions(text)
		if err != nil || !slices.Equal(again, opts) || again.String() != text {
			t.Errorf("%q is %v, and %q is %v, %v", s, opts, text, again, err)
		}
		if _, err := AppendTCP(nil, &ip4, &TCP{Options: opts}, nil); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// FuzzBuild makes a packet of any fields and has package decode read it.
func FuzzBuild(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1, 10, 0, 0, 2}, uint8(0), uint8(64), uint8(0), uint16(1), uint32(1), uint32(2), uint16(2), "mss 1460", []byte("hello"))
	f.Add(make([]byte, 32), uint8(0x45), uint8(1), uint8(3), uint16(9), uint32(1), uint32(0), uint16(0x1ff), "FO ab", []byte{})
	f.Fuzz(func(t *testing.T, addrs []byte, how, ttl, tos uint8, port uint16, seq, ack uint32, flags uint16, options string, payload []byte) {
		opts, err := ParseOptions(options)
		if err != nil {
			return
		}
		src, _ := netip.AddrFromSlice(addrs[:len(addrs)/2])
		dst, _ := netip.AddrFromSlice(addrs[len(addrs)/2:])
		s := sample{IP: IP{Src: src, Dst: dst, TTL: ttl, TOS: tos, ID: port, FlowLabel: seq, Sum: Sum(how >> 6 % 3)}, Payload: payload, Protocol: 253}
		sum := Sum(how >> 4 % 4 % 3)
		switch how % 4 {
		case 0:
			s.TCP = &TCP{SrcPort: port, DstPort: ^port, Seq: seq, Ack: ack, Flags: decode.Flags(flags), Options: opts, Sum: sum}
		case 1:
			s.UDP = &UDP{SrcPort: port, DstPort: 9, Sum: sum} // no tunnel's port
		case 2:
			s.Echo = &Echo{ID: port, Seq: flags, Sum: sum}
		}
		b, err := s.build(nil)
		if err != nil {
			if src.IsValid() && src.BitLen() == dst.BitLen() && len(payload) < 65000 {
				t.Errorf("%+v: %v", s, err)
			}
			return
		}
		var d decode.Decoder
		var p decode.Packet
		frame := decode.Frame{Link: decode.LinkRaw, Data: b, Wire: len(b), Checksums: decode.ChecksumsComplete}
		if err := d.Decode(&frame, &p); err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		none := s.UDP != nil && sum == SumZero && src.Is4()
		if bad := sum != SumRight && !none && how%4 != 3; p.BadSum != bad && !(sum == SumZero && !p.BadSum) {
			t.Errorf("%+v: bad checksum %v", s, p.BadSum)
		}
		if !bytes.Equal(p.Payload, payload) || p.Src.AddrPort().Addr() != src.WithZone("") || p.TTL != s.ttl() {
			t.Errorf("%+v: %+v", s, p)
		}
		if s.TCP != nil && (p.Segment.Seq != seq || p.Segment.Ack != ack || p.Segment.Flags != decode.Flags(flags)&flagBits) {
			t.Errorf("%+v: %+v", s, p)
		}
		wholeByFields(t, b)
	})
}

func TestParseFlags(t *testing.T) {
	for text, want := range map[string]decode.Flags{
		"SYN": decode.SYN, "SYN,ACK": decode.SYN | decode.ACK, "fin+ack": decode.FIN | decode.ACK, "0x29": decode.FIN | decode.PSH | decode.URG,
		"18": decode.SYN | decode.ACK, "S.": decode.SYN | decode.ACK, "S": decode.SYN, ".": decode.ACK, "F.": decode.FIN | decode.ACK,
		"FPU": decode.FIN | decode.PSH | decode.URG, "SEW": decode.SYN | decode.ECE | decode.CWR, "none": 0, "0": 0, "NS": decode.AE, "AE": decode.AE,
		"e": decode.AE, "0x1ff": flagBits, "R": decode.RST, "FINACK": 0, "": 0, "SYN,XYZ": 0, "512": 0, "Q": 0, ",": 0,
	} {
		got, err := ParseFlags(text)
		bad := slices.Contains([]string{"FINACK", "", "SYN,XYZ", "512", "Q", ","}, text)
		if got != want || (err != nil) != bad {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for f := range decode.Flags(flagBits + 1) {
		if got, err := ParseFlags(fmt.Sprintf("0x%x", uint16(f))); err != nil || got != f {
			t.Errorf("%#x: %v, %v", uint16(f), got, err)
		}
		if got, err := ParseFlags(f.String()); f != 0 && (err != nil || got != f) {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
}
