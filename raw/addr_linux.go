package raw

import (
	"encoding/binary"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// htons returns p in network byte order, as sockaddr_ll wants it.
func htons(p Protocol) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], uint16(p))
	return binary.NativeEndian.Uint16(b[:])
}

// ntohs is htons' inverse.
func ntohs(n uint16) Protocol {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return Protocol(binary.BigEndian.Uint16(b[:]))
}

// sockaddr returns a as an address of s's domain.
func (s Socket) sockaddr(a net.Addr) (unix.Sockaddr, error) {
	switch a := a.(type) {
	case *net.TCPAddr:
		return s.inet(a, a.IP, a.Port, a.Zone)
	case *net.UDPAddr:
		return s.inet(a, a.IP, a.Port, a.Zone)
	case *net.IPAddr:
		return s.inet(a, a.IP, 0, a.Zone)
	case *net.UnixAddr:
		if s.Domain == AF_UNIX {
			return &unix.SockaddrUnix{Name: a.Name}, nil
		}
	case *Addr:
		if s.Domain == AF_PACKET {
			return s.linklayer(a)
		}
	case nil:
		return nil, &net.AddrError{Err: "missing address"}
	}
	return nil, badAddr(s, a)
}

func badAddr(s Socket, a net.Addr) error {
	return &net.AddrError{Err: "not an address of " + s.Domain.String(), Addr: a.String()}
}

// inet returns ip (nil: any), port and zone, which are a's, as an IPv4 or IPv6 address.
func (s Socket) inet(a net.Addr, ip net.IP, port int, zone string) (unix.Sockaddr, error) {
	switch {
	case s.Domain == AF_INET && len(ip) == 0:
		return &unix.SockaddrInet4{Port: port}, nil
	case s.Domain == AF_INET && ip.To4() != nil:
		return &unix.SockaddrInet4{Port: port, Addr: [4]byte(ip.To4())}, nil
	case s.Domain == AF_INET6 && len(ip) == 0:
		return &unix.SockaddrInet6{Port: port}, nil
	case s.Domain == AF_INET6 && ip.To16() != nil:
		id, err := zoneID(zone)
		return &unix.SockaddrInet6{Port: port, ZoneId: id, Addr: [16]byte(ip.To16())}, err
	default:
		return nil, badAddr(s, a)
	}
}

// zoneID returns the interface index that an IPv6 zone stands for.
func zoneID(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(ifi.Index), nil
}

func (s Socket) linklayer(a *Addr) (unix.Sockaddr, error) {
	p := a.Protocol
	if p == 0 {
		p = s.Protocol
	}
	sa := &unix.SockaddrLinklayer{Protocol: htons(p), Ifindex: a.Interface, Halen: uint8(len(a.Hardware))}
	if len(a.Hardware) > len(sa.Addr) {
		return nil, &net.AddrError{Err: "hardware address too long", Addr: a.String()}
	}
	copy(sa.Addr[:], a.Hardware)
	return sa, nil
}

// addr returns what the kernel said as the standard library's address for a
// socket of s's type; nil where it said nothing or an address of another kind.
func (s Socket) addr(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return s.ipAddr(sa.Addr[:], sa.Port, "")
	case *unix.SockaddrInet6:
		zone := ""
		if sa.ZoneId != 0 {
			// Its name would cost a netlink dump for every packet.
			zone = strconv.FormatUint(uint64(sa.ZoneId), 10)
		}
		return s.ipAddr(sa.Addr[:], sa.Port, zone)
	case *unix.SockaddrUnix:
		return s.unixAddr(sa.Name)
	case *unix.SockaddrLinklayer:
		return &Addr{
			Interface: sa.Ifindex,
			Protocol:  ntohs(sa.Protocol),
			Hardware:  net.HardwareAddr(sa.Addr[:min(int(sa.Halen), len(sa.Addr))]),
			Type:      PacketType(sa.Pkttype),
		}
	default:
		return nil
	}
}

func (s Socket) ipAddr(ip net.IP, port int, zone string) net.Addr {
	switch s.Type {
	case SOCK_DGRAM:
		return &net.UDPAddr{IP: ip, Port: port, Zone: zone}
	case SOCK_RAW:
		return &net.IPAddr{IP: ip, Zone: zone}
	default:
		return &net.TCPAddr{IP: ip, Port: port, Zone: zone}
	}
}

func (s Socket) unixAddr(name string) net.Addr {
	switch s.Type {
	case SOCK_DGRAM:
		return &net.UnixAddr{Name: name, Net: "unixgram"}
	case SOCK_SEQPACKET:
		return &net.UnixAddr{Name: name, Net: "unixpacket"}
	default:
		return &net.UnixAddr{Name: name, Net: "unix"}
	}
}
