package pcapfilter

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// frame is an Ethernet frame with a name for messages.
type frame struct {
	name string
	data []byte
	wire int // its length before it was cut; 0: that of data
}

func (f frame) wireLen() int { return max(f.wire, len(f.data)) }

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
	m.frames = append(m.frames, frame{name: name, data: append([]byte(nil), buf.Bytes()...)})
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
		m.add("ip6 next header "+proto.String(), eth6, ip6("fe80::1", "fe80::2", proto), gopacket.Payload(append([]byte{17}, make([]byte, 39)...)))
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

	m.layers()

	whole := len(m.frames)
	for i, f := range m.frames[:whole] {
		for _, n := range []int{0, 13, 14, 20, 24, 27, 30, 34, 37, 40, 54, 57} {
			if i%3 == n%3 && n < len(f.data) {
				m.frames = append(m.frames, frame{name: f.name + " cut", data: f.data[:n], wire: len(f.data)})
			}
		}
	}
	return m.frames
}

// layers adds packets inside others.
func (m *packetMaker) layers() {
	const macs = "\x66\x77\x88\x99\xaa\xbb\x00\x11\x22\x33\x44\x55"
	ip := ip4("10.0.0.1", "192.168.1.1", layers.IPProtocolTCP)
	segment4 := m.serialized(ip, tcp(ip, 40000, 80, "SA"))
	n6 := ip6("fe80::1", "fe80::2", layers.IPProtocolTCP)
	segment6 := m.serialized(n6, tcp(n6, 80, 40000, "F"))
	ip = ip4("10.0.0.2", "10.0.0.1", layers.IPProtocolUDP)
	ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	datagram := m.serialized(ip, udp(ip, 5353, 53))
	arp := "\x00\x01\x08\x00\x06\x04\x00\x01\x00\x11\x22\x33\x44\x55\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\xa8\x01\x01"
	stp := "\x00\x11\x42\x42\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

	tag := func(tpid, tci uint16) string {
		return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci))
	}
	label := func(n uint32, last bool) string {
		n = n<<12 | 64
		if last {
			n |= 1 << 8
		}
		return string(binary.BigEndian.AppendUint32(nil, n))
	}
	session := func(id uint16, proto, payload string) string {
		b := binary.BigEndian.AppendUint16([]byte("\x88\x64\x11\x00"), id)
		b = binary.BigEndian.AppendUint16(b, uint16(len(proto)+len(payload)))
		return string(b) + proto + payload
	}
	tunnel := func(outer gopacket.NetworkLayer, dst uint16, header, payload string) string {
		ipLayer := outer.(gopacket.SerializableLayer)
		return m.serialized(ipLayer, udp(outer, 12345, dst), gopacket.Payload(header+payload))
	}
	outer4 := func() *layers.IPv4 { return ip4("10.9.0.1", "10.9.0.2", layers.IPProtocolUDP) }
	options := outer4()
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	outer6 := ip6("2001:db8::1", "2001:db8::2", layers.IPProtocolUDP)
	inner := macs + "\x08\x00" + segment4

	for _, f := range []struct{ name, data string }{
		{"vlan tcp4", tag(0x8100, 100) + "\x08\x00" + segment4},
		{"vlan prio tcp6", tag(0x8100, 0xe000|7) + "\x86\xdd" + segment6},
		{"vlan 802.1ad", tag(0x88a8, 100) + "\x08\x00" + datagram},
		{"vlan 9100", tag(0x9100, 5) + "\x08\x00" + segment4},
		{"vlan double", tag(0x88a8, 100) + tag(0x8100, 200) + "\x08\x00" + segment4},
		{"vlan triple", tag(0x8100, 100) + tag(0x8100, 200) + tag(0x8100, 300) + "\x86\xdd" + segment6},
		{"vlan arp", tag(0x8100, 100) + "\x08\x06" + arp},
		{"vlan stp", tag(0x8100, 100) + stp},
		{"vlan llc ipx", tag(0x8100, 100) + "\x00\x11\xe0\xe0\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"mpls", "\x88\x47" + label(1024, true) + segment4},
		{"mpls 6", "\x88\x47" + label(100000, true) + segment6},
		{"mpls stack", "\x88\x47" + label(100000, false) + label(1024, true) + segment4},
		{"mpls three", "\x88\x47" + label(1, false) + label(100000, false) + label(1024, true) + datagram},
		{"mpls not ip", "\x88\x47" + label(1024, true) + "\x00\x00\x00\x00" + inner},
		{"vlan mpls", tag(0x8100, 100) + "\x88\x47" + label(1024, true) + segment4},
		{"pppoe discovery", "\x88\x63\x11\x09\x00\x00\x00\x04\x01\x01\x00\x00"},
		{"pppoe", session(39, "\x00\x21", segment4)},
		{"pppoe 6", session(0xfe, "\x00\x57", segment6)},
		{"pppoe lcp", session(39, "\xc0\x21", "\x09\x01\x00\x08\x01\x02\x03\x04")},
		{"pppoe mpls", session(39, "\x02\x81", label(1024, true)+segment4)},
		{"vlan pppoe", tag(0x8100, 100) + session(39, "\x00\x21", datagram)},
		{"geneve", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", inner)},
		{"geneve options", "\x08\x00" + tunnel(options, 6081, "\x02\x00\x65\x58\x00\x00\x0b\x00\x01\x02\x03\x01abcd", inner)},
		{"geneve ip", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x08\x00\x00\x00\x0a\x00", segment4)},
		{"geneve ip6", "\x08\x00" + tunnel(outer4(), 6081, "\x01\x00\x86\xdd\x00\x00\x0a\x00abcd", segment6)},
		{"geneve version 1", "\x08\x00" + tunnel(outer4(), 6081, "\x40\x00\x65\x58\x00\x00\x0a\x00", inner)},
		{"geneve other port", "\x08\x00" + tunnel(outer4(), 6082, "\x00\x00\x65\x58\x00\x00\x0a\x00", inner)},
		{"geneve over ip6", "\x86\xdd" + tunnel(outer6, 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", inner)},
		{"geneve vlan", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", macs+tag(0x8100, 100)+"\x86\xdd"+segment6)},
		{"geneve mpls", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x88\x47\x00\x00\x0a\x00", label(1024, true)+segment4)},
		{"geneve broadcast", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", "\xff\xff\xff\xff\xff\xff\x00\x11\x22\x33\x44\x55\x08\x06"+arp)},
		{"geneve in geneve", "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", macs+"\x08\x00"+tunnel(options, 6081, "\x00\x00\x65\x58\x00\x00\x0c\x00", inner))},
		{"vlan geneve", tag(0x8100, 100) + "\x08\x00" + tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", inner)},
		{"pppoe geneve", session(39, "\x00\x21", tunnel(outer4(), 6081, "\x00\x00\x65\x58\x00\x00\x0a\x00", inner))},
		{"llc snap ipx", "\x00\x20\xaa\xaa\x03\x00\x00\x00\x81\x37" + datagram},
		{"llc snap atalk", "\x00\x20\xaa\xaa\x03\x08\x00\x07\x80\x9b" + datagram},
		{"llc snap aarp", "\x00\x20\xaa\xaa\x03\x00\x00\x00\x80\xf3" + datagram},
		{"llc snap ip", "\x00\x20\xaa\xaa\x03\x00\x00\x00\x08\x00" + segment4},
		{"802.3 ipx", "\x00\x20\xff\xff" + datagram},
		{"ipx", "\x81\x37" + datagram},
		{"atalk", "\x80\x9b" + datagram},
		{"aarp", "\x80\xf3" + datagram},
		{"ns", "\x06\x00" + datagram},
	} {
		m.frames = append(m.frames, frame{name: f.name, data: []byte(macs + f.data)})
	}
	for typ := range byte(28) { // IS-IS messages
		m.frames = append(m.frames, frame{name: "isis", data: []byte(macs + "\x00\x20\xfe\xfe\x03\x83\x1b\x01\x00" + string(typ) + "\x01\x00\x00")})
	}
	for _, nlpid := range []byte{0x81, 0x82} {
		m.frames = append(m.frames, frame{name: "osi", data: []byte(macs + "\x00\x20\xfe\xfe\x03" + string([]byte{nlpid}) + "\x1b\x01\x00\x12\x01\x00\x00")})
	}
	for _, control := range []byte{0x00, 0x02, 0x01, 0x11, 0x05, 0x09, 0x03, 0x13, 0x63, 0x43, 0x0f, 0x6f, 0xe3, 0xaf, 0x87, 0x97} {
		m.frames = append(m.frames, frame{name: "llc control", data: []byte(macs + "\x00\x20\x08\x08" + string([]byte{control}) + "\x00\x00\x00")})
	}

	// Chains of headers. (Behind two authentication headers libpcap loses its way.)
	transport := "\x9c\x40\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\x00\x00\x00\x00\x00\x00"
	auth := func(next byte) string {
		return string([]byte{next, 4}) + "\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01abcdefghijkl"
	}
	opt := func(next, more byte) string { return string([]byte{next, more}) + string(make([]byte, 6+8*int(more))) }
	for _, c := range []struct {
		first byte
		chain string
	}{
		{51, auth(6) + transport},
		{51, auth(17) + transport},
		{0, opt(6, 0) + transport},
		{0, opt(60, 1) + opt(43, 0) + opt(44, 2) + opt(44, 0) + opt(17, 0) + transport}, // the fragment header's second byte is reserved
		{60, opt(51, 0) + auth(58) + transport},
		{43, opt(59, 0)},
		{44, opt(0, 0) + opt(6, 9) + transport},
		{0, opt(0, 0) + opt(0, 0) + opt(0, 0) + opt(0, 0) + opt(0, 0) + opt(0, 0) + opt(132, 0) + transport},
	} {
		if c.first == 51 {
			m.add("ip4 chain", ether(layers.EthernetTypeIPv4), ip4("10.0.0.1", "10.0.0.2", layers.IPProtocolAH), gopacket.Payload(c.chain))
		}
		m.add("ip6 chain", ether(layers.EthernetTypeIPv6), ip6("fe80::1", "fe80::2", layers.IPProtocol(c.first)), gopacket.Payload(c.chain))
	}
	m.add("ip4 multicast", &layers.Ethernet{SrcMAC: macAddr("00:11:22:33:44:55"), DstMAC: macAddr("01:00:5e:00:00:05"), EthernetType: layers.EthernetTypeIPv4},
		ip4("10.0.0.1", "224.0.0.5", layers.IPProtocolUDP), gopacket.Payload("hello"))
	m.add("ip4 zero", ether(layers.EthernetTypeIPv4), ip4("10.0.0.1", "0.0.0.0", layers.IPProtocolUDP), gopacket.Payload("hello"))
}

// serialized returns the bytes of layers.
func (m *packetMaker) serialized(ls ...gopacket.SerializableLayer) string {
	m.t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		m.t.Fatal(err)
	}
	return string(buf.Bytes())
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
