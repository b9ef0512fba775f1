package byhand_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"finack/internal/byhand"
	"finack/internal/privnet"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }

func TestSmoke(t *testing.T) {
	privnet.Require(t)
	remove, err := privnet.RouteLoopback(netip.MustParsePrefix("10.9.7.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c)
			c.Close()
		}
	}()
	h, err := byhand.Listen(&byhand.HostConfig{Addr: netip.MustParseAddr("10.9.7.7"), OnStep: func(c *byhand.Conn, s *byhand.Step) {
		t.Log(s.Sent, s.Flags, s.Seq-s.ISS, s.Ack-s.IRS, len(s.Payload), s.Why, s.Before, s.After)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := h.Dial(ctx, ln.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("hello"))
	b := make([]byte, 10)
	n, err := c.Read(b)
	t.Log(string(b[:n]), err)
	t.Log(c.Close())
}
