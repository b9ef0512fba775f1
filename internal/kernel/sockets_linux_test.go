package kernel_test

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// awaitSocket waits until the socket from local to remote is as ok wants.
func awaitSocket(t *testing.T, local, remote net.Addr, ok func(kernel.Socket) bool) kernel.Socket {
	t.Helper()
	l := netip.MustParseAddrPort(local.String())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		list, err := kernel.Sockets()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.Local == l && (remote == nil || s.Remote == netip.MustParseAddrPort(remote.String())) && ok(s) {
				return s
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v to %v is not among %+v", local, remote, list)
		}
	}
}

// Both ends of a half-closed connection, and what is left of it.
func TestSockets(t *testing.T) {
	privnet.Require(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false)
			ln, err := lc.Listen(t.Context(), "tcp", address)
			if err != nil {
				t.Skip(err) // no IPv6
			}
			defer ln.Close()
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			l := awaitSocket(t, ln.Addr(), nil, func(s kernel.Socket) bool { return s.State == trace.Listen && s.ReadQueue == 1 })
			if l.WriteQueue == 0 {
				t.Errorf("a listener without a backlog: %+v", l)
			}
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := c.Write(make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			passive := awaitSocket(t, s.LocalAddr(), s.RemoteAddr(), func(s kernel.Socket) bool { return s.State == trace.CloseWait })
			if passive.ReadQueue != 6 || passive.UID != os.Getuid() || passive.Inode == 0 {
				t.Errorf("5 bytes and a FIN unread: %+v", passive)
			}
			awaitSocket(t, c.LocalAddr(), c.RemoteAddr(), func(s kernel.Socket) bool { return s.State == trace.FinWait2 && s.Inode != 0 })
			if _, err := s.Read(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			left := awaitSocket(t, c.LocalAddr(), c.RemoteAddr(), func(s kernel.Socket) bool { return s.State == trace.TimeWait })
			if left.Inode != 0 || left.Timer != kernel.TimerTimeWait || left.Expires < 50*time.Second || left.Expires > 60*time.Second {
				t.Errorf("TIME_WAIT for 60 s and nobody's: %+v", left)
			}
		})
	}
}
