//go:build !linux

package echo

import (
	"cmp"
	"net"
	"syscall"
	"time"
)

// Elsewhere than on Linux Go's poller waits for every socket, datagram sockets
// too.

func block(syscall.Conn, time.Duration) error { return nil }

func interrupt(syscall.Conn, bool) {}

// unixListener is a socket.
type unixListener struct {
	*net.UnixListener
	file *socketFile
}

func (s *Server) newUnixListener(ln *net.UnixListener) (socket, error) {
	return unixListener{ln, own(ln)}, nil
}

func (l unixListener) serve(s *Server) {
	defer l.close()
	s.acceptAll(l.SetDeadline, func() (*conn, error) {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		rc, err := c.SyscallConn()
		return &conn{sock: c, raw: rc, seqpacket: l.Addr().Network() == "unixpacket"}, err
	})
}

func (l unixListener) drain() { _ = l.SetDeadline(past()) }

func (l unixListener) close() error { return cmp.Or(l.file.remove(), notClosed(l.Close())) }
