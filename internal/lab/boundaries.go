package lab

import (
	"context"
	"net"
	"time"
)

// streamBoundaries writes twice and reads once: a stream has no messages.
func streamBoundaries(ctx context.Context, network, address string) (string, error) {
	c, s, err := connectedPair(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer s.Close()
	return boundaries(c, s)
}

// connectedPair connects two stream sockets; the server listens at address.
func connectedPair(ctx context.Context, network, address string) (c, s net.Conn, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if c, err = net.Dial(network, ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if s, err = ln.Accept(); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, s, nil
}

// datagramBoundaries does the same with datagrams.
func datagramBoundaries() (string, error) {
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	defer s.Close()
	c, err := net.Dial("udp4", s.LocalAddr().String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	return boundaries(c, s)
}

// boundaries sends two messages, lets both arrive, and looks at what one read
// returns. On loopback a write has arrived when it returns.
func boundaries(c, s net.Conn) (string, error) {
	const half = 3
	for range 2 {
		if _, err := c.Write(make([]byte, half)); err != nil {
			return "", err
		}
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	n, err := s.Read(make([]byte, 64))
	if err != nil {
		return "", err
	}
	if n == half {
		return "kept", nil
	}
	return "none", nil
}
