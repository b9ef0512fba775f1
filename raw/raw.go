// Package raw opens a socket that can be said aloud, as in
//
//	socket(AF_INET, SOCK_RAW, IPPROTO_TCP)
//
// with any domain, type and protocol that the kernel takes, and reads, writes
// and closes it through Go's poller. Stream, datagram, sequenced-packet and
// Unix sockets open the same way, so that they can be compared with raw ones.
//
// Names and numbers are Linux's, on every system; Open works on Linux only.
package raw

import (
	"net"
	"strconv"
	"syscall"

	"golang.org/x/net/bpf"
)

// Domain is a protocol family, socket(2)'s first argument.
type Domain int

// The domains whose addresses a Conn knows.
const (
	AF_UNIX   Domain = 1  // unix(7)
	AF_INET   Domain = 2  // ip(7)
	AF_INET6  Domain = 10 // ipv6(7)
	AF_PACKET Domain = 17 // packet(7)
)

// String returns "AF_INET" and so on, or the number.
func (d Domain) String() string {
	switch d {
	case AF_UNIX:
		return "AF_UNIX"
	case AF_INET:
		return "AF_INET"
	case AF_INET6:
		return "AF_INET6"
	case AF_PACKET:
		return "AF_PACKET"
	default:
		return strconv.Itoa(int(d))
	}
}

// Type is a socket's communication semantics, socket(2)'s second argument.
// SOCK_NONBLOCK and SOCK_CLOEXEC are no part of it: Open always sets them.
type Type int

// The types of a socket.
const (
	SOCK_STREAM    Type = 1 // a stream of bytes, with a beginning and an end
	SOCK_DGRAM     Type = 2 // messages, each on its own
	SOCK_RAW       Type = 3 // packets with their headers
	SOCK_SEQPACKET Type = 5 // messages in order, with a beginning and an end
)

// String returns "SOCK_RAW" and so on, or the number.
func (t Type) String() string {
	switch t {
	case SOCK_STREAM:
		return "SOCK_STREAM"
	case SOCK_DGRAM:
		return "SOCK_DGRAM"
	case SOCK_RAW:
		return "SOCK_RAW"
	case SOCK_SEQPACKET:
		return "SOCK_SEQPACKET"
	default:
		return strconv.Itoa(int(t))
	}
}

// Protocol is socket(2)'s third argument. What a number means depends on the
// domain: IPPROTO_ICMP and ETH_P_802_3 are both 1. Zero asks for the type's
// default, which SOCK_RAW does not have.
type Protocol int

// Socket says which socket to open. It is passed to the kernel as it is.
type Socket struct {
	Domain   Domain
	Type     Type
	Protocol Protocol
}

// String returns the call that opens s, with every constant by its name:
// "socket(AF_INET, SOCK_RAW, IPPROTO_TCP)". Numbers without a name, and a
// protocol of zero, are printed as numbers.
func (s Socket) String() string {
	return "socket(" + s.Domain.String() + ", " + s.Type.String() + ", " + s.Domain.ProtocolName(s.Protocol) + ")"
}

// ProtocolName returns p as it is called in domain d, "IPPROTO_TCP" or
// "ETH_P_IP"; the number where it has no name there.
func (d Domain) ProtocolName(p Protocol) string {
	name := ""
	switch d {
	case AF_INET, AF_INET6:
		name = ipprotoName(p)
	case AF_PACKET:
		name = ethName(p)
	}
	if name == "" {
		return strconv.Itoa(int(p))
	}
	return name
}

// Config holds what is to happen before a socket can receive. The zero value,
// like nil, is a socket as the kernel makes it.
type Config struct {
	// Filter is attached first: no packet that it refuses is ever received.
	// That takes about 10 ms on SOCK_RAW of AF_INET and AF_INET6, which
	// receive from socket(2) on. See SetBPF for what the filter sees.
	Filter []bpf.RawInstruction

	// ReceiveBuffer is the size of the receive buffer in bytes; the kernel
	// doubles it for its bookkeeping (socket(7)). It may exceed
	// net.core.rmem_max where the program has CAP_NET_ADMIN, and is cut to it
	// elsewhere. Zero keeps net.core.rmem_default.
	ReceiveBuffer int

	// Bind is the local address to bind to, as Bind does; nil binds nothing.
	Bind net.Addr
}

// How says which direction Shutdown ends, shutdown(2)'s second argument.
type How int

// The directions that Shutdown ends.
const (
	SHUT_RD   How = 0 // receiving
	SHUT_WR   How = 1 // sending: TCP sends FIN
	SHUT_RDWR How = 2 // both
)

// PacketType says how a packet of an AF_PACKET socket passed the host,
// packet(7)'s sll_pkttype.
type PacketType uint8

// The packet types.
const (
	PACKET_HOST      PacketType = 0 // to this host
	PACKET_BROADCAST PacketType = 1 // to everybody on the link
	PACKET_MULTICAST PacketType = 2 // to a group on the link
	PACKET_OTHERHOST PacketType = 3 // to another host, seen because of promiscuous mode
	PACKET_OUTGOING  PacketType = 4 // from this host
)

// String returns "PACKET_HOST" and so on, or the number.
func (t PacketType) String() string {
	switch t {
	case PACKET_HOST:
		return "PACKET_HOST"
	case PACKET_BROADCAST:
		return "PACKET_BROADCAST"
	case PACKET_MULTICAST:
		return "PACKET_MULTICAST"
	case PACKET_OTHERHOST:
		return "PACKET_OTHERHOST"
	case PACKET_OUTGOING:
		return "PACKET_OUTGOING"
	default:
		return strconv.Itoa(int(t))
	}
}

// Addr is the address of an AF_PACKET socket, packet(7)'s sockaddr_ll.
type Addr struct {
	Interface int              // interface index; zero, in Bind: every interface
	Protocol  Protocol         // ETH_P_…; zero, in Bind: the socket's own
	Hardware  net.HardwareAddr // link-layer address: a received packet's source, a sent one's destination
	Type      PacketType       // of a received packet
}

// Network returns "packet".
func (a *Addr) Network() string { return "packet" }

// String returns the hardware address and the interface index,
// "02:00:00:00:00:01%2"; "any" for every interface.
func (a *Addr) String() string {
	if a.Interface == 0 {
		return "any"
	}
	return a.Hardware.String() + "%" + strconv.Itoa(a.Interface)
}

// A Conn takes the place of the standard library's connections.
var (
	_ net.Conn       = (*Conn)(nil)
	_ net.PacketConn = (*Conn)(nil)
	_ syscall.Conn   = (*Conn)(nil)
)
