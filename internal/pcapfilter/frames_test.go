package pcapfilter

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// frame is an Ethernet frame with a name for messages.
type frame struct {
	name string
	data []byte
}

// packetMaker builds Ethernet frames with gopacket's serializer.
type packetMaker struct {
	t      testing.TB
	frames []frame
}

func (m *packetMaker) add(name string, ls ...gopacket.SerializableLayer) {
	m.t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	m.frames = append(m.frames, frame{name, append([]byte(nil), buf.Bytes()...)})
}

func macAddr(s string) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ether(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macAddr("00:11:22:33:44:55"), DstMAC: macAddr("66:77:88:99:aa:bb"), EthernetType: t}
}

func ip4(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func ip6(src, dst string, proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func tcp(n gopacket.NetworkLayer, src, dst uint16, flags string) *layers.TCP {
	s := &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), Seq: 1000, Ack: 2000, Window: 512}
	for _, f := range flags {
		switch f {
		case 'S':
			s.SYN = true
		case 'F':
			s.FIN = true
		case 'R':
			s.RST = true
		case 'P':
			s.PSH = true
		case 'A':
			s.ACK = true
		case 'E':
			s.ECE = true
		}
	}
	if err := s.SetNetworkLayerForChecksum(n); err != nil {
		panic(err)
	}
	return s
}

func udp(n gopacket.NetworkLayer, src, dst uint16) *layers.UDP {
	s := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
	if err := s.SetNetworkLayerForChecksum(n); err != nil {
		panic(err)
	}
	return s
}

// craftedFrames returns at least one frame of every shape the language tells
// apart, each also cut short at several lengths.
func craftedFrames(t testing.TB) []frame {
	m := &packetMaker{t: t}
	payload := gopacket.Payload("GET / HTTP/1.0\r\n\r\n")
	eth4, eth6 := ether(layers.EthernetTypeIPv4), ether(layers.EthernetTypeIPv6)

	for _, flags := range []string{"S", "SA", "A", "FA", "F", "R", "RA", "PA", "SE"} {
		ip := ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
		m.add("tcp4 "+flags, eth4, ip, tcp(ip, 40000, 80, flags))
	}
	ip := ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
	m.add("tcp4 data", eth4, ip, tcp(ip, 40000, 80, "PA"), payload)
	ip = ip4("192.168.1.1", "10.0.0.1", layers.IPProtocolTCP)
	m.add("tcp4 from server", eth4, ip, tcp(ip, 443, 40000, "SA"))
	ip = ip4("10.0.0.2", "10.0.0.1", layers.IPProtocolTCP)
	m.add("tcp4 same ports", eth4, ip, tcp(ip, 53, 53, "A"))
	ip = ip4("10.0.0.1", "10.0.0.1", layers.IPProtocolTCP)
	m.add("tcp4 same hosts", eth4, ip, tcp(ip, 22, 6004, "A"))
	ip = ip4("10.1.2.3", "224.0.0.5", layers.IPProtocolTCP)
	ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	ip.TOS = 0xb8
	segment := tcp(ip, 6000, 6008, "FA")
	segment.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
	m.add("tcp4 options", eth4, ip, segment, payload)
	ip = ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
	ip.Flags = layers.IPv4MoreFragments
	m.add("tcp4 first fragment", eth4, ip, tcp(ip, 40000, 80, "A"), payload)
	ip = ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
	ip.FragOffset = 100
	m.add("tcp4 later fragment", eth4, ip, tcp(ip, 40000, 80, "S"), payload)

	ip = ip4("192.168.0.9", "10.0.0.1", layers.IPProtocolUDP)
	m.add("udp4", eth4, ip, udp(ip, 5353, 53), payload)
	ip = ip4("172.16.5.5", "10.0.0.2", layers.IPProtocolUDP)
	m.add("udp4 big", eth4, ip, udp(ip, 80, 1024), gopacket.Payload(make([]byte, 900)))
	m.add("icmp4 echo", eth4, ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, payload)
	m.add("icmp4 unreachable", eth4, ip4("10.0.0.2", "10.0.0.1", layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}, payload)
	m.add("sctp4", eth4, ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolSCTP),
		&layers.SCTP{SrcPort: 80, DstPort: 443, VerificationTag: 3}, payload)
	for _, proto := range []layers.IPProtocol{layers.IPProtocolIGMP, 9, layers.IPProtocolESP, layers.IPProtocolAH, layers.IPProtocolVRRP, 103, 47, 58, 41, 0} {
		m.add("ip4 proto "+proto.String(), eth4, ip4("10.0.0.3", "224.0.0.1", proto), payload)
	}

	n6 := ip6("fe80::1", "fe80::2", layers.IPProtocolTCP)
	m.add("tcp6", eth6, n6, tcp(n6, 40000, 80, "S"))
	n6 = ip6("2001:db8::1", "::1", layers.IPProtocolTCP)
	m.add("tcp6 data", eth6, n6, tcp(n6, 443, 22, "PA"), payload)
	n6 = ip6("::1", "2001:db8::1", layers.IPProtocolUDP)
	m.add("udp6", eth6, n6, udp(n6, 5353, 53), payload)
	n6 = ip6("fe80::1", "ff02::1", layers.IPProtocolICMPv6)
	for _, typ := range []uint8{128, 135} {
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
		if err := icmp.SetNetworkLayerForChecksum(n6); err != nil {
			t.Fatal(err)
		}
		m.add("icmp6", eth6, n6, icmp, payload)
	}
	m.add("sctp6", eth6, ip6("fe80::1", "fe80::2", layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 80, DstPort: 443}, payload)
	for _, proto := range []byte{6, 17, 58, 44} {
		m.add("ip6 fragment", eth6, ip6("fe80::1", "fe80::2", layers.IPProtocolIPv6Fragment),
			gopacket.Payload([]byte{proto, 0, 0, 1, 0, 0, 0, 9, 0, 80, 0, 80, 0, 0, 0, 0}))
	}
	for _, proto := range []layers.IPProtocol{layers.IPProtocolIPv6HopByHop, layers.IPProtocolESP, layers.IPProtocolAH, 103, 59} {
		m.add("ip6 next header "+proto.String(), eth6, ip6("fe80::1", "fe80::2", proto), gopacket.Payload(make([]byte, 40)))
	}

	for _, typ := range []layers.EthernetType{layers.EthernetTypeARP, 0x8035} {
		m.add("arp", ether(typ), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: macAddr("00:11:22:33:44:55"), SourceProtAddress: []byte{10, 0, 0, 1},
			DstHwAddress: make([]byte, 6), DstProtAddress: []byte{192, 168, 1, 1},
		})
	}
	for _, typ := range []layers.EthernetType{0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x88cc, 0x9000, 0x0600, 0x05dd, 0x8847} {
		m.add("ethertype", ether(typ), payload)
	}
	for _, sap := range []byte{0x42, 0xfe, 0xf0, 0x06, 0xaa, 0xe0} {
		m.add("llc", ether(17), gopacket.Payload([]byte{sap, sap, 3, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
		m.add("llc dsap", ether(17), gopacket.Payload([]byte{sap, 4, 3, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
	}
	ip = ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
	m.add("vlan", ether(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 100, Type: layers.EthernetTypeIPv4}, ip, tcp(ip, 40000, 80, "S"))
	other := ether(layers.EthernetTypeIPv4)
	other.SrcMAC, other.DstMAC = other.DstMAC, macAddr("ff:ff:ff:ff:ff:ff")
	m.add("broadcast", other, ip4("10.0.0.1", "255.255.255.255", layers.IPProtocolUDP), gopacket.Payload(make([]byte, 30)))

	whole := len(m.frames)
	for i, f := range m.frames[:whole] {
		for _, n := range []int{0, 13, 14, 20, 24, 27, 30, 34, 37, 40, 54, 57} {
			if i%3 == n%3 && n < len(f.data) {
				m.frames = append(m.frames, frame{f.name + " cut", f.data[:n]})
			}
		}
	}
	return m.frames
}

// corpusFrames returns the Ethernet frames of the corpus, where it is there.
func corpusFrames(t testing.TB) []frame {
	files, _ := filepath.Glob("../../../shared/corpus/files/*")
	var frames []frame
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r interface {
			ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
			LinkType() layers.LinkType
		}
		if strings.HasSuffix(name, ".pcapng") {
			r, err = pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
		} else {
			var pr *pcapgo.Reader
			if pr, err = pcapgo.NewReader(f); err == nil {
				pr.SetSnaplen(1 << 18)
			}
			r = pr
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.LinkType() != layers.LinkTypeEthernet {
			continue
		}
		for {
			data, _, err := r.ReadPacketData()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Logf("%s: %v", name, err)
				}
				break
			}
			frames = append(frames, frame{filepath.Base(name), data})
		}
	}
	return frames
}

// relink gives an Ethernet frame the header of another link type.
func relink(f []byte, link uint16) []byte {
	if link == 1 {
		return f
	}
	if len(f) < 14 {
		return f
	}
	proto, packet := binary.BigEndian.Uint16(f[12:]), f[14:]
	ethertype := proto
	if ethertype <= maxLength {
		ethertype = 4 // ETH_P_802_2
	}
	direction := uint16(len(f)) % 5 // any sll_pkttype
	var h []byte
	switch link {
	case 0, 108:
		family := map[uint16]uint32{etherIPv4: 2, etherIPv6: []uint32{24, 28, 30}[len(f)%3]}[proto]
		if link == 0 {
			h = binary.LittleEndian.AppendUint32(nil, family)
		} else {
			h = binary.BigEndian.AppendUint32(nil, family)
		}
	case 9:
		h = binary.BigEndian.AppendUint16([]byte{0xff, 0x03}, map[uint16]uint16{etherIPv4: 0x21, etherIPv6: 0x57}[proto])
	case 12, 14, 101, 228, 229:
	case 113:
		h = binary.BigEndian.AppendUint16(nil, direction)
		h = append(h, 0, 1, 0, 6)
		h = append(append(h, f[6:12]...), 0, 0)
		h = binary.BigEndian.AppendUint16(h, ethertype)
	case 129:
		h = []byte{1, 2, 0, 0, map[uint16]byte{etherIPv4: 212, etherIPv6: 196, etherARP: 213, etherRARP: 214}[proto], 0, 0, 0}
	case 242:
		h = binary.BigEndian.AppendUint16(make([]byte, 40, 44), proto)
		h = append(h, 0, 0)
	case 276:
		h = binary.BigEndian.AppendUint16(nil, ethertype)
		h = append(h, 0, 0, 0, 0, 0, 1, 0, 1, byte(direction), 6)
		h = append(append(h, f[6:12]...), 0, 0)
	}
	return append(h, packet...)
}
