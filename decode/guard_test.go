package decode

import (
	"bytes"
	"testing"
)

// mix is one frame of each kind that costs something different.
func mix(t testing.TB) []*Frame {
	badOption := tcp4(t)
	badOption[40] = 0xff
	badOption[41] = 0
	cut := frame(LinkRaw, tcp4(t)[:40])
	cut.Wire = 64
	nops := cat(tcp4(t)[20:40], bytes.Repeat([]byte{1}, 40))
	nops[12] = 0xf0
	return []*Frame{
		frame(LinkEthernet, ether(0x0800, tcp4(t))),
		frame(LinkEthernet, ether(0x86dd, tcp6(t))),
		frame(LinkEthernet, ether(0x0806, make([]byte, 46))),
		frame(LinkEthernet, ether(0x8100, u16(1), u16(0x0800), udp4(t, 53, []byte(hello)))),
		frame(LinkEthernet, ether(0x8847, u32(16<<12|1<<8), tcp4(t))),
		frame(LinkEthernet, ether(0x8864, []byte{0x11, 0, 0, 9, 0, 66, 0, 0x21}, tcp4(t))),
		frame(LinkSLL, cat(make([]byte, 14), u16(0x0800), tcp4(t))),
		frame(LinkSLL2, cat(u16(0x86dd), u16(0), u32(17), u16(1), []byte{4, 6}, make([]byte, 8), tcp6(t))),
		frame(LinkRaw, tcp4(t)),
		frame(LinkRaw, tcp6(t)),
		frame(LinkNull, cat([]byte{2, 0, 0, 0}, tcp4(t))),
		frame(LinkARCNET, cat([]byte{1, 2, 0, 0, 0xd4, 0, 0, 9}, tcp4(t))),
		frame(LinkRaw, badOption),
		frame(LinkRaw, in4(t, 6, nops)),
		frame(LinkRaw, tcp4(t)[:30]),
		frame(LinkRaw, in4(t, 6, make([]byte, 40))),
		frame(LinkRaw, in4(t, 1, []byte{3, 3, 0, 0, 0, 0, 0, 0}, tcp4(t)[:28])),
		frame(LinkRaw, in6(t, 58, []byte{1, 4, 0, 0, 0, 0, 0, 0}, tcp6(t)[:48])),
		frame(LinkRaw, in6(t, 44, []byte{6, 0, 0, 1, 0, 0, 0, 9}, tcp6(t)[40:])),
		frame(LinkRaw, in6(t, 43, []byte{6, 2, 0, 1}, make([]byte, 20), tcp6(t)[40:])),
		frame(LinkRaw, in4(t, 47, []byte{0x20, 0, 8, 0, 0, 0, 0, 7}, tcp4(t))),
		frame(LinkRaw, udp4(t, 4789, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, ether(0x0800, tcp4(t))))),
		frame(LinkRaw, udp4(t, 6081, cat([]byte{0, 0, 0x65, 0x58, 0, 0, 7, 0}, ether(0x0806, make([]byte, 46))))),
		frame(999, tcp4(t)),
		cut,
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	var d Decoder
	var p Packet
	frames := mix(t)
	if n := testing.AllocsPerRun(100, func() {
		for _, f := range frames {
			_ = d.Decode(f, &p)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d frames", n, len(frames))
	}
	// Not even for the first frame, whatever it is.
	for i, f := range frames {
		decoders := make([]Decoder, 11)
		if n := testing.AllocsPerRun(10, func() {
			_ = decoders[0].Decode(f, &p)
			decoders = decoders[1:]
		}); n != 0 {
			t.Errorf("frame %d: %v allocations by a new decoder", i, n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	links := []LinkType{
		LinkEthernet, LinkRaw, LinkNull, LinkLoop, LinkSLL, LinkSLL2, LinkPPP, LinkARCNET,
		LinkIPoIB, LinkIPv4, LinkIPv6, LinkRaw12, LinkRaw14, 147,
	}
	for _, s := range mix(f) {
		for i, l := range links {
			if l == s.Link {
				f.Add(byte(i), byte(0), s.Data)
				f.Add(byte(i), byte(200), s.Data[:len(s.Data)*2/3])
			}
		}
	}
	f.Fuzz(func(t *testing.T, link, more byte, data []byte) {
		fr := Frame{
			Time: 1, Iface: 2, Link: links[int(link)%len(links)], Dir: DirInbound, Checksums: ChecksumsComplete,
			Wire: len(data) + int(more), Data: data,
		}
		var used, fresh Decoder
		var p, again Packet
		err := used.Decode(&fr, &p)
		if p.Len < 0 || len(p.Payload) > p.Len {
			t.Errorf("Len %d, %d bytes of payload", p.Len, len(p.Payload))
		}
		if len(p.Payload) > 0 {
			at := cap(data) - cap(p.Payload)
			if at < 0 || at+len(p.Payload) > len(data) || &data[at] != &p.Payload[0] {
				t.Error("the payload is not within the frame")
			}
		}
		if err != nil {
			if err != ErrMalformed && err != ErrTruncated && err != ErrLinkType {
				t.Errorf("error %v", err)
			}
			if p.Proto != ProtoNone || p.Len != 0 || p.Payload != nil || p.Segment != (Segment{}) || p.ICMP != (ICMP{}) || p.Src.Port != 0 || p.Dst.Port != 0 {
				t.Errorf("error %v, but %+v", err, p)
			}
		}
		if p.Version == 0 && (p.Proto != ProtoNone || p.Src != Endpoint{} || p.Dst != Endpoint{}) {
			t.Errorf("no IP header, but %+v", p)
		}
		if p.Version != 0 && p.EtherType != 0 {
			t.Errorf("IP header and EtherType %#x", p.EtherType)
		}
		if err2 := fresh.general(&fr, &again); err2 != err || !same(&p, &again) {
			t.Errorf("%+v, error %v; the general way %+v, %v", p, err, again, err2)
		}
		for _, d := range []*Decoder{&used, &fresh} {
			if err2 := d.Decode(&fr, &again); err2 != err || !same(&p, &again) {
				t.Errorf("decoded again: %+v, error %v; before %+v, %v", again, err2, p, err)
			}
		}
	})
}

// same reports whether a and b say the same.
func same(a, b *Packet) bool {
	x, y := *a, *b
	x.Payload, y.Payload = nil, nil
	return bytes.Equal(a.Payload, b.Payload) &&
		x.Time == y.Time && x.Dir == y.Dir && x.Iface == y.Iface && x.Proto == y.Proto && x.Version == y.Version &&
		x.TTL == y.TTL && x.Fragment == y.Fragment && x.BadSum == y.BadSum && x.IPID == y.IPID && x.Src == y.Src &&
		x.Dst == y.Dst && x.Segment == y.Segment && x.ICMP == y.ICMP && x.Len == y.Len && x.EtherType == y.EtherType
}

func BenchmarkDecode(b *testing.B) {
	for _, bb := range []struct {
		name string
		f    *Frame
		sums Checksums
	}{
		{"Ethernet-IPv4-TCP", frame(LinkEthernet, ether(0x0800, tcp4(b))), ChecksumsUnknown},
		{"Ethernet-IPv6-TCP", frame(LinkEthernet, ether(0x86dd, tcp6(b))), ChecksumsUnknown},
		{"raw-IPv4-TCP", frame(LinkRaw, tcp4(b)), ChecksumsUnknown},
		{"SLL-IPv4-TCP", frame(LinkSLL, cat(make([]byte, 14), u16(0x0800), tcp4(b))), ChecksumsUnknown},
		{"Ethernet-IPv4-TCP-checksum", frame(LinkEthernet, ether(0x0800, tcp4(b))), ChecksumsComplete},
		{"Ethernet-IPv4-UDP", frame(LinkEthernet, ether(0x0800, udp4(b, 53, []byte(hello)))), ChecksumsUnknown},
		{"VXLAN", frame(LinkRaw, udp4(b, 4789, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, ether(0x0800, tcp4(b))))), ChecksumsUnknown},
	} {
		bb.f.Checksums = bb.sums
		b.Run(bb.name, func(b *testing.B) {
			var d Decoder
			var p Packet
			for b.Loop() {
				if err := d.Decode(bb.f, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
