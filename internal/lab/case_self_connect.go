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
			"its sender, which talks to itself. Then the service cannot start.",
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
			if err := s.returned(s.connecting(c, service), 0); err != nil {
				return err
			}
			p := pipeOf(c)
			if p.client != service || p.server != service {
				return checkf("connected %v, want %v to itself", p, service)
			}
			s.say(fmt.Sprintf("Nobody listens, and connect(2) returned without an error: getsockname and getpeername are %v.", p.client))
			if err := s.talkToItself(c, p); err != nil {
				return err
			}
			return s.oneSocket(p)
		},
	}
}

// talkToItself has the socket read what it has written.
func (s *stage) talkToItself(c *raw.Conn, p pipe) error {
	n, err := c.Write([]byte("hello"))
	if err != nil {
		return err
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	s.say(fmt.Sprintf("It wrote %d bytes and read them itself: %q.", n, got))
	s.say("Addresses do not tell who sent a segment, so all count as the client's: once it acknowledges its own " +
		"data, packets prove no state. The kernel has one socket, which is shown as both ends.")
	unknown := states{trace.Unknown, trace.Unknown}
	s.expect("Itself", p, outcome{
		handshake: trace.IncompleteHandshake, teardown: trace.NoTeardown, states: unknown,
		also: func(v *trace.Conn) error {
			if v.SYN != [2]uint32{2, 0} || v.Packets[trace.Server] != 0 || v.Bytes != [2]uint64{uint64(n), 0} {
				return checkf("SYNs %v, packets %v, bytes %v; want a SYN and a SYN-ACK of one side", v.SYN, v.Packets, v.Bytes)
			}
			return nil
		},
	})
	return s.endsDiffer("connected to itself", p, unknown, states{trace.Established, trace.Established})
}

// oneSocket checks that the host has one socket of the connection, which keeps
// the service from its port.
func (s *stage) oneSocket(p pipe) error {
	list, err := s.sockets(s.client)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Local != p.client || list[0].Remote != p.client {
		return checkf("the host has the sockets %+v, want one of %v", list, p)
	}
	err = s.client.Do(func() error {
		ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(p.client))
		if err == nil {
			s.atEnd(ln)
		}
		return err
	})
	if !errors.Is(err, syscall.EADDRINUSE) {
		return checkf("a service that listens at %v: %v, want EADDRINUSE", p.client, err)
	}
	s.say("Then the service starts: EADDRINUSE.")
	return nil
}
