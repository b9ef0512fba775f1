package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Sockets returns the TCP sockets, of programs and of none any more, in the
// network namespace of the calling thread. It may be called by anybody.
func Sockets() ([]Socket, error) {
	var list []Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := diagnose(family)
		if err != nil {
			return nil, fmt.Errorf("list TCP sockets (sock_diag): %w", err)
		}
		for _, s := range found {
			list = append(list, socketOf(s))
		}
	}
	return list, nil
}

// dumpTries is how often the table is asked for while it changes underneath.
const dumpTries = 10

// diagnose dumps the sockets of one address family.
func diagnose(family uint8) (found []*netlink.InetDiagTCPInfoResp, err error) {
	for range dumpTries {
		found, err = netlink.SocketDiagTCPInfo(family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil // a kernel without IPv6
	}
	return found, err
}

// socketOf takes over what the kernel has said of a socket.
func socketOf(r *netlink.InetDiagTCPInfoResp) Socket {
	m := r.InetDiagMsg
	s := Socket{
		Local: addrPort(m.ID.Source, m.ID.SourcePort), Remote: addrPort(m.ID.Destination, m.ID.DestinationPort),
		State: State(m.State), Timer: Timer(m.Timer), Retransmits: int(m.Retrans),
		ReadQueue: int(m.RQueue), WriteQueue: int(m.WQueue), UID: int(m.UID), Inode: m.INode,
	}
	if s.Timer != TimerNone {
		s.Expires = time.Duration(m.Expires) * time.Millisecond
	}
	if r.TCPInfo != nil && s.Inode != 0 {
		s.SinceACK = time.Duration(r.TCPInfo.Last_ack_recv) * time.Millisecond
	}
	return s
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}
