package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"finack/raw"
	"finack/trace"
)

func selfConnect() *Scenario {
	return &Scenario{
		Name:  "self-connect",
		Title: "A socket connects to itself: its port was the service's",
		Life: "A client tries again and again to reach a service of its own host that is down. If the service's port is " +
			"among the ephemeral ports, the kernel gives it to the client sooner or later: the SYN comes back to " +
			"its sender, which talks to itself. Now the service cannot start.",
		Cure: "Keep services out of net.ipv4.ip_local_port_range, or put their ports into ip_local_reserved_ports. " +
			"A client can compare getsockname(2) with getpeername(2), and close if they are the same.",
		onLo: true,
		run: func(s *stage) error {
			// The kernel has one ephemeral port to choose.
			if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", fmt.Sprint(serverPort, serverPort)); err != nil {
				return err
			}
			service := socketPort(netip.MustParseAddr("127.0.0.1"), serverPort)
			c, err := s.unbound(s.client)
			if err != nil {
				return err
			}
			if err := c.Connect(net.TCPAddrFromAddrPort(service)); err != nil {
				return err
			}
			p := pipeOf(c)
			if p.client != service || p.server != service {
				return checkf("connected %v, want %v to itself", p, service)
			}
			s.say(fmt.Sprintf("Nobody listens, and connect(2) returned without an error: getsockname and getpeername are %v.", p.client))
			if err := s.talkToItself(c); err != nil {
				return err
			}
			if _, err := s.listen(s.client, serverPort); !errors.Is(err, syscall.EADDRINUSE) {
				return checkf("the service's listener: %v, want EADDRINUSE", err)
			}
			return nil
		},
	}
}

// talkToItself has the socket read what it has written.
func (s *stage) talkToItself(c *raw.Conn) error {
	n, err := c.Write([]byte("hello"))
	if err != nil {
		return err
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	s.say(fmt.Sprintf("It wrote %d bytes and read them itself: %q.", n, got))
	s.expect("Itself", pipeOf(c), outcome{states: states{trace.Established, trace.Established}})
	return s.ends("connected to itself", pipeOf(c), trace.Established, trace.Established)
}
