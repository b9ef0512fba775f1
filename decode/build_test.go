package decode

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The packets of these tests are gopacket's, so that its serializer is the
// oracle; what it cannot build is put before them by hand.

var (
	mac   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	addr4 = [2]net.IP{net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 0, 2)}
	addr6 = [2]net.IP{net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")}
)

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

func ip4Layer(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 61, Id: 4711, Protocol: proto, SrcIP: addr4[0], DstIP: addr4[1]}
}

func ip6Layer(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 62, NextHeader: proto, SrcIP: addr6[0], DstIP: addr6[1]}
}

// tcpLayer is a segment whose header fields are all different.
func tcpLayer() *layers.TCP {
	return &layers.TCP{
		SrcPort: 40000, DstPort: 80, Seq: 0x11223344, Ack: 0x55667788,
		PSH: true, ACK: true, Window: 502, Urgent: 7,
		Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		},
	}
}

const hello = "hello, world"

// tcp4 and tcp6 are IP packets with tcpLayer and hello.
func tcp4(t testing.TB) []byte {
	ip, tcp := ip4Layer(layers.IPProtocolTCP), tcpLayer()
	tcp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, tcp, gopacket.Payload(hello))
}

func tcp6(t testing.TB) []byte {
	ip, tcp := ip6Layer(layers.IPProtocolTCP), tcpLayer()
	tcp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, tcp, gopacket.Payload(hello))
}

func udp4(t testing.TB, dst uint16, payload []byte) []byte {
	ip, udp := ip4Layer(layers.IPProtocolUDP), &layers.UDP{SrcPort: 5353, DstPort: layers.UDPPort(dst)}
	udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

func udp6(t testing.TB, dst uint16, payload []byte) []byte {
	ip, udp := ip6Layer(layers.IPProtocolUDP), &layers.UDP{SrcPort: 5353, DstPort: layers.UDPPort(dst)}
	udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

// in4 and in6 put payload into an IP packet of protocol proto.
func in4(t testing.TB, proto byte, payload ...[]byte) []byte {
	return serialize(t, ip4Layer(layers.IPProtocol(proto)), gopacket.Payload(cat(payload...)))
}

func in6(t testing.TB, proto byte, payload ...[]byte) []byte {
	return serialize(t, ip6Layer(layers.IPProtocol(proto)), gopacket.Payload(cat(payload...)))
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// ether puts payload into an Ethernet frame.
func ether(t uint16, payload ...[]byte) []byte {
	return cat(mac, mac, u16(t), cat(payload...))
}

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// wantTCP4 and wantTCP6 are what Decode makes of tcp4 and tcp6.
func wantTCP4() Packet {
	return Packet{
		Version: 4, TTL: 61, IPID: 4711, Proto: ProtoTCP,
		Src: Endpoint{Addr: [16]byte{10, 0, 0, 1}, Port: 40000}, Dst: Endpoint{Addr: [16]byte{10, 0, 0, 2}, Port: 80},
		Segment: Segment{
			Seq: 0x11223344, Ack: 0x55667788, Flags: PSH | ACK, Window: 502, Urgent: 7,
			Opts: OptTimestamps, TSVal: 0x01020304, TSEcr: 0x05060708,
		},
		Len: len(hello), Payload: []byte(hello),
	}
}

func wantTCP6() Packet {
	p := wantTCP4()
	p.Version, p.TTL, p.IPID = 6, 62, 0
	p.Src.Addr, p.Src.V6 = [16]byte(addr6[0]), true
	p.Dst.Addr, p.Dst.V6 = [16]byte(addr6[1]), true
	return p
}

// frame makes a Frame of data, all of which was captured.
func frame(link LinkType, data []byte) *Frame {
	return &Frame{Link: link, Wire: len(data), Data: data, Checksums: ChecksumsComplete}
}

// decode decodes f with a Decoder and into a Packet that were used before.
func decode(t testing.TB, f *Frame) (Packet, error) {
	t.Helper()
	var d Decoder
	var p Packet
	if err := d.Decode(frame(LinkIPv6, tcp6(t)), &p); err != nil || p.Len == 0 {
		t.Fatalf("decode the packet before: %v", err)
	}
	p.ICMP.Error, p.BadSum, p.Fragment, p.EtherType = true, true, true, 1
	err := d.Decode(f, &p)
	return p, err
}
