package lab

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/raw"
)

// The options of tcp(7) that scenarios set, by their numbers on Linux: package
// syscall does not have them all.
const (
	tcpUserTimeout     = 18
	tcpFastOpen        = 23 // of a listener
	tcpFastOpenConnect = 30
)

// patience is how long the scenario waits for what must come.
func (s *stage) patience() time.Duration {
	if s.sc.wait != 0 {
		return s.sc.wait
	}
	return stagePatience
}

// socketPort is an IPv4 address with a port of its own.
func socketPort(addr netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(addr, uint16(port))
}

// unbound opens a stream socket of a host.
func (s *stage) unbound(h *privnet.Host) (c *raw.Conn, err error) {
	err = h.Do(func() (err error) {
		c, err = openStream()
		return err
	})
	if err == nil {
		s.atEnd(c)
	}
	return c, err
}

// bound opens a stream socket of a host, bound to an address: port 0 is any.
func (s *stage) bound(h *privnet.Host, addr netip.AddrPort) (*raw.Conn, error) {
	c, err := s.unbound(h)
	if err != nil {
		return nil, err
	}
	return c, c.Bind(net.TCPAddrFromAddrPort(addr))
}

// accept waits for the listener's next connection.
func (s *stage) accept(ln *net.TCPListener) (*net.TCPConn, error) {
	if err := ln.SetDeadline(time.Now().Add(s.patience())); err != nil {
		return nil, err
	}
	c, err := ln.AcceptTCP()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, checkf("accept(2) at %v has not returned in %v", ln.Addr(), s.patience())
	}
	if err == nil {
		s.atEnd(c)
	}
	return c, err
}

// setTCP sets an option of tcp(7), named as there.
func setTCP(c syscall.Conn, name string, option, value int) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	cerr := rc.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, option, value) })
	return errors.Join(cerr, os.NewSyscallError("setsockopt("+name+")", err))
}

// attempt is a connect(2) that need not have returned.
type attempt struct {
	*raw.Conn
	pipe
	begun time.Time
	took  time.Duration // until connect(2) returned
	done  chan error
}

// connecting begins a connect(2) of a socket that is bound.
func (s *stage) connecting(c *raw.Conn, to netip.AddrPort) *attempt {
	a := &attempt{
		Conn: c, pipe: pipe{netip.MustParseAddrPort(c.LocalAddr().String()), to},
		begun: time.Now(), done: make(chan error, 1),
	}
	go func() { a.done <- a.Connect(net.TCPAddrFromAddrPort(to)) }()
	return a
}

// dialing begins a connect(2) of the client's host to a port of the server's.
func (s *stage) dialing(port int) (*attempt, error) {
	c, err := s.bound(s.client, socketPort(s.client.Addr, 0))
	if err != nil {
		return nil, err
	}
	return s.connecting(c, socketPort(s.server.Addr, port)), nil
}

// returned waits until connect(2) has returned, with this errno; 0: none.
func (s *stage) returned(a *attempt, want syscall.Errno) error {
	timeout := time.NewTimer(s.patience())
	defer timeout.Stop()
	select {
	case err := <-a.done:
		a.took = time.Since(a.begun)
		if want == 0 && err == nil || want != 0 && errors.Is(err, want) {
			return nil
		}
		return checkf("connect(%v): %v; want errno %d (%v)", a.server, err, int(want), want)
	case <-timeout.C:
		return checkf("connect(%v) has not returned in %v", a.server, s.patience())
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// almost is the least that a timer of the kernel takes, which counts in jiffies.
func almost(timeout time.Duration) time.Duration { return timeout - 20*time.Millisecond }

// under reports whether connect(2) has not returned.
func (a *attempt) under() bool { return len(a.done) == 0 }

// setSysctl writes a variable of a host's network, named as by sysctl(8).
func (s *stage) setSysctl(h *privnet.Host, name, value string) error {
	return h.Do(func() error { return os.WriteFile(sysctlFile(name), []byte(value), 0) })
}

// sysctl reads a variable of a host's network.
func (s *stage) sysctl(h *privnet.Host, name string) (value string, err error) {
	err = h.Do(func() error {
		b, err := os.ReadFile(sysctlFile(name))
		value = strings.Join(strings.Fields(string(b)), " ")
		return err
	})
	return value, err
}

func sysctlFile(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

// counters reads the counters of a host's network.
func (s *stage) counters(h *privnet.Host) (c kernel.Counters, err error) {
	err = h.Do(func() (err error) {
		c, err = kernel.ReadCounters()
		return err
	})
	return c, err
}
