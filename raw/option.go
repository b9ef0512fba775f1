package raw

import "strconv"

// Option is a socket option as getsockopt(2) gives it.
type Option struct {
	Name    string // "SO_RCVBUF"
	Value   int    // 0 where the option is a text
	Text    string // the value as it is called: "AF_INET", "off", "cubic", or the number
	Meaning string // what it does, or what it says here; may be empty
}

// Privilege says what a program needs before the kernel gives it a socket.
type Privilege uint8

// The privileges.
const (
	PrivilegeNone   Privilege = iota
	PrivilegeNetRaw           // CAP_NET_RAW in the network namespace (capabilities(7))
	PrivilegePing             // a group within net.ipv4.ping_group_range (icmp(7)), whatever else it may do
)

// String returns the privilege as it is asked for: "CAP_NET_RAW".
func (p Privilege) String() string {
	switch p {
	case PrivilegeNetRaw:
		return "CAP_NET_RAW"
	case PrivilegePing:
		return "a group in net.ipv4.ping_group_range"
	default:
		return "no privilege"
	}
}

// Privilege returns what the kernel asks for before it opens s, raw(7),
// packet(7), icmp(7). It may refuse s for another reason first.
func (s Socket) Privilege() Privilege {
	switch {
	case s.Domain == AF_PACKET:
		return PrivilegeNetRaw
	case s.Domain != AF_INET && s.Domain != AF_INET6:
		return PrivilegeNone
	case s.Type == SOCK_RAW:
		return PrivilegeNetRaw
	case s.ping():
		return PrivilegePing
	default:
		return PrivilegeNone
	}
}

// ping reports whether s is a ping socket.
func (s Socket) ping() bool {
	return s.Type == SOCK_DGRAM && (s.Domain == AF_INET && s.Protocol == IPPROTO_ICMP ||
		s.Domain == AF_INET6 && s.Protocol == IPPROTO_ICMPV6)
}

// Refusal explains why a socket could not be opened.
type Refusal struct {
	Errno   string // the name of what socket(2) answered: "EPERM"
	Text    string // as the kernel's manual says it
	Meaning string // what it means for this socket
	Cure    string // what helps; "" where nothing does
	General string // what this errno means of any socket(2)
	Denied  bool   // the answer may be another for another user
}

// number is an Option of a plain number.
func number(name string, v int, meaning string) Option {
	return Option{name, v, strconv.Itoa(v), meaning}
}

// toggle is an Option that is on or off.
func toggle(name string, v int, meaning string) Option {
	text := "off"
	if v != 0 {
		text = "on"
	}
	return Option{name, v, text, meaning}
}

// What a socket sees and is for.
const (
	seesTCP      = "a connection: bytes in order, with a handshake and a teardown. It sees no header; the kernel does TCP for it"
	seesRaw      = "every IPv4 packet of this protocol that is delivered to this host, IP header first, beside the kernel's own use of it; none that this host sends elsewhere"
	seesRaw6     = "every IPv6 packet of this protocol that is delivered to this host, without its IP headers, beside the kernel's own use of it; none that it sends elsewhere"
	seesSendOnly = "for sending packets with a header of one's own: it hears nothing but IP protocol 255, which nobody sends"
)

// Purpose says in a sentence or two what s sees and is for; "" where this
// package does not know it.
func (s Socket) Purpose() string {
	switch s.Domain {
	case AF_UNIX:
		switch s.Type {
		case SOCK_STREAM:
			return "bytes in order between programs of this host; its address is a path. No packet is sent: nothing to capture"
		case SOCK_SEQPACKET:
			return "messages in order between programs of this host, with a connection. No packet is sent: nothing to capture"
		case SOCK_DGRAM:
			return "messages between programs of this host, none lost or out of order. No packet is sent: nothing to capture"
		case SOCK_RAW:
			return "Linux makes it SOCK_DGRAM, in silence (SO_TYPE says so): messages between programs of this host"
		}
	case AF_PACKET:
		return s.packetPurpose()
	case AF_INET, AF_INET6:
		return s.inetPurpose()
	}
	return ""
}

func (s Socket) packetPurpose() string {
	what := "whole frames, link header first"
	if s.Type == SOCK_DGRAM {
		what = "frames without their link header, which sockaddr_ll tells instead"
	}
	switch {
	case s.Type != SOCK_RAW && s.Type != SOCK_DGRAM:
		return ""
	case s.Protocol == 0:
		return what + ": for sending. It hears nothing until bind(2) gives it a protocol"
	case s.Protocol == ETH_P_ALL:
		return what + ": everything that passes an interface, both ways. What tcpdump uses"
	default:
		return what + ": what is received with this protocol; nothing that this host sends"
	}
}

func (s Socket) inetPurpose() string {
	raw := seesRaw
	if s.Domain == AF_INET6 {
		raw = seesRaw6
	}
	switch {
	case s.Type == SOCK_RAW && s.Protocol == IPPROTO_RAW:
		return seesSendOnly
	case s.Type == SOCK_RAW && s.Protocol > 255:
		return "a number that does not fit the IP header's protocol field: it hears nothing"
	case s.Type == SOCK_RAW:
		return raw
	case s.Type == SOCK_STREAM && s.Protocol == IPPROTO_MPTCP:
		return "a connection that may use several paths, and falls back to TCP (RFC 8684)"
	case s.Type == SOCK_STREAM && s.Protocol == IPPROTO_SCTP:
		return "an association one to one: messages as a stream (RFC 6458)"
	case s.Type == SOCK_STREAM && (s.Protocol == 0 || s.Protocol == IPPROTO_TCP):
		return seesTCP
	case s.Type == SOCK_SEQPACKET:
		return "associations one to many: messages in order (RFC 6458)"
	case s.ping():
		return "echo requests and their own answers, without privilege: ping without root. The kernel fills in identifier and checksum"
	case s.Type == SOCK_DGRAM && (s.Protocol == 0 || s.Protocol == IPPROTO_UDP):
		return "datagrams, each on its own: no handshake, no teardown. It sees no header"
	case s.Type == SOCK_DGRAM && s.Protocol == IPPROTO_UDPLITE:
		return "datagrams whose checksum covers only a part (RFC 3828)"
	}
	return ""
}
