package echo

import (
	"fmt"
	"net"
	"syscall"
	"time"
)

const (
	maxUDP = 65535 // more than a UDP datagram carries: 65,507 bytes over IPv4, 65,527 over IPv6

	echoPort = 7 // RFC 862

	// patience is how long an answer on a Unix socket may wait for room, so
	// that a client that does not read does not stop the server. Room is a
	// place in the receiver's queue (net.unix.max_dgram_qlen), or, where the
	// receiver is connected to us, in our own send buffer: the kernel charges
	// what is unread to its sender, so a connected client that never reads
	// can, until it closes, leave no room for the answers to others.
	patience = 100 * time.Millisecond
)

func isWildcard(c *net.UDPConn) bool { return c.LocalAddr().(*net.UDPAddr).IP.IsUnspecified() }

// serveUDP answers each datagram, an empty one too, from the address that it
// was sent to: on a socket bound to every address the kernel would choose one
// by the route, and a connected client would not recognise the answer.
func (s *Server) serveUDP(c *net.UDPConn) {
	defer c.Close()
	own := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	var (
		buf     = make([]byte, maxUDP)
		oob     []byte
		backoff time.Duration
	)
	if isWildcard(c) {
		oob = make([]byte, controlSize)
	}
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			if !s.retry(err, &backoff) {
				return
			}
			continue
		}
		backoff = 0
		// Two echo servers would answer each other for ever; one forged
		// datagram is enough to start them.
		if p := from.Port(); p == echoPort || p == own {
			s.report(fmt.Errorf("datagram from %v not answered: its port is an echo server's", from))
			continue
		}
		if _, _, err := c.WriteMsgUDPAddrPort(buf[:n], answerFrom(oob[:oobn]), from); err != nil {
			s.report(err)
		}
	}
}

// serveUnixgram answers each datagram whose sender has an address.
func (s *Server) serveUnixgram(c *net.UnixConn) {
	defer c.Close()
	var (
		buf     = make([]byte, maxMessage)
		backoff time.Duration
	)
	for {
		n, _, flags, from, err := c.ReadMsgUnix(buf, nil)
		if err != nil {
			if !s.retry(err, &backoff) {
				return
			}
			continue
		}
		backoff = 0
		switch {
		case from == nil || from.Name == "":
			s.report(fmt.Errorf("datagram on %v not answered: its sender is not bound to an address", c.LocalAddr()))
		case flags&syscall.MSG_TRUNC != 0:
			s.report(fmt.Errorf("datagram from %v: %w", from, errTruncated))
		default:
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			if _, err := c.WriteToUnix(buf[:n], from); err != nil {
				s.report(err)
			}
		}
	}
}
