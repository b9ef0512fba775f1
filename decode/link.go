package decode

import "strconv"

// LinkType is a link-layer header type, a LINKTYPE_ value of the pcap and
// pcapng formats. It has 16 bits (gopacket's has 8, which turns SLL2 into 20).
type LinkType uint16

// The link types that Decode understands.
const (
	LinkNull     LinkType = 0   // BSD loopback: address family in the capturing host's byte order
	LinkEthernet LinkType = 1   // IEEE 802.3
	LinkARCNET   LinkType = 129 // ARCNET as Linux delivers it
	LinkPPP      LinkType = 9   // PPP, with or without address and control bytes
	LinkRaw12    LinkType = 12  // raw IP, OpenBSD's and others' number
	LinkRaw14    LinkType = 14  // raw IP, another number of it
	LinkRaw      LinkType = 101 // raw IP, version in the first nibble
	LinkLoop     LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkSLL      LinkType = 113 // Linux cooked capture
	LinkIPv4     LinkType = 228 // raw IPv4
	LinkIPv6     LinkType = 229 // raw IPv6
	LinkIPoIB    LinkType = 242 // IP over InfiniBand
	LinkSLL2     LinkType = 276 // Linux cooked capture, version 2
)

// String returns the name that tcpdump -L uses, or the number.
func (l LinkType) String() string {
	switch l {
	case LinkNull:
		return "NULL"
	case LinkEthernet:
		return "EN10MB"
	case LinkARCNET:
		return "ARCNET_LINUX"
	case LinkPPP:
		return "PPP"
	case LinkRaw, LinkRaw12, LinkRaw14:
		return "RAW"
	case LinkLoop:
		return "LOOP"
	case LinkSLL:
		return "LINUX_SLL"
	case LinkIPv4:
		return "IPV4"
	case LinkIPv6:
		return "IPV6"
	case LinkIPoIB:
		return "IPOIB"
	case LinkSLL2:
		return "LINUX_SLL2"
	default:
		return strconv.Itoa(int(l))
	}
}
