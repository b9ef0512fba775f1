package echo

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

// controlSize holds one IP_PKTINFO or IPV6_PKTINFO control message.
const controlSize = 64

// receiveDestination makes the kernel tell with each datagram which of the
// host's addresses it was sent to (ip(7) IP_PKTINFO, ipv6(7) IPV6_RECVPKTINFO).
func receiveDestination(c *net.UDPConn) error {
	level, option := syscall.SOL_IPV6, syscall.IPV6_RECVPKTINFO
	if c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is4() {
		level, option = syscall.SOL_IP, syscall.IP_PKTINFO
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = rc.Control(func(fd uintptr) {
		optErr = syscall.SetsockoptInt(int(fd), level, option, 1)
	})
	if err == nil && optErr != nil {
		err = &net.OpError{Op: "set", Net: "udp", Addr: c.LocalAddr(), Err: os.NewSyscallError("setsockopt", optErr)}
	}
	return err
}

// answerFrom turns the control message of a received datagram, in place, into
// the one that sends the answer from the address that was asked. The two have
// the same form. The interface is left to the routes, except that a link-local
// address means nothing without it.
func answerFrom(oob []byte) []byte {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == syscall.SOL_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= syscall.SizeofInet4Pktinfo:
			// struct in_pktinfo: ipi_ifindex, ipi_spec_dst (on sending: the
			// source; received: our address, also for a broadcast), ipi_addr.
			clear(m.Data[:4])
			return oob
		case m.Header.Level == syscall.SOL_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= syscall.SizeofInet6Pktinfo:
			// struct in6_pktinfo: ipi6_addr, ipi6_ifindex.
			dst := netip.AddrFrom16([16]byte(m.Data)).Unmap()
			if dst.IsMulticast() {
				return nil
			}
			if !dst.IsLinkLocalUnicast() {
				clear(m.Data[16:20])
			}
			return oob
		}
	}
	return nil
}
