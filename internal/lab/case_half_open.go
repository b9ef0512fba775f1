package lab

import (
	"errors"
	"io"
	"net"
	"syscall"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func rstToNothing() *Scenario {
	return &Scenario{
		Name:  "rst-to-nothing",
		Title: "The server's host has forgotten the connection",
		Life: "A host that crashed and is up again, a failover to one that never knew the connection, a virtual machine " +
			"set back to a snapshot. No FIN, no RST: the client stays ESTABLISHED (half-open) until it sends something.",
		Cure: "A side that only waits never learns of it: use keep-alive (SO_KEEPALIVE, TCP_KEEPIDLE) or a ping of the " +
			"protocol, and TCP_USER_TIMEOUT for what is sent.",
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			s.say("The server's socket is closed in repair mode (TCP_REPAIR), which sends as little as a power cut.")
			if err := setTCP(server, "TCP_REPAIR", tcpRepair, 1); err != nil {
				return err
			}
			if err := server.Close(); err != nil {
				return err
			}
			established := states{trace.Established, trace.Established}
			if err := s.endsDiffer("it is forgotten", p, established, states{trace.Established, trace.Closed}); err != nil {
				return err
			}
			if err := s.learn("client", client, p); err != nil {
				return err
			}
			s.expect("Half-open", p, resetBy(trace.Server, trace.NoTeardown, trace.NoCloser, 1))
			return s.counted("server", s.server, "TcpOutRsts", 1)
		},
	}
}

func lostRST() *Scenario {
	return &Scenario{
		Name:  "lost-rst",
		Title: "The client's RST is lost, and nobody sends it again",
		Life: "A client that aborts, on a link that drops, or behind a firewall that lets no RST out. A RST has no ACK " +
			"and no timer: the server stays ESTABLISHED, with a peer that is gone.",
		Cure: "Keep-alive, or an idle timeout at the server. A capture near the client shows a connection that was reset; " +
			"whether the RST has arrived, only one near the server shows.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.RST, Nth: 1, Drop: true}},
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := s.abort(client); err != nil {
				return err
			}
			if err := s.caught(0); err != nil {
				return err
			}
			s.say("The capture is before the loss: by the wire the RST is taken as said.")
			wire := states{trace.Closed, trace.Closed}
			if err := s.endsDiffer("the RST is lost", p, wire, states{trace.Closed, trace.Established}); err != nil {
				return err
			}
			if err := s.learn("server", server, p); err != nil {
				return err
			}
			s.expect("Lost RST", p, resetBy(trace.Client, trace.NoTeardown, trace.NoCloser, 2))
			return s.counted("client", s.client, "TcpOutRsts", 2)
		},
	}
}

// abort closes with a RST.
func (s *stage) abort(c *net.TCPConn) error {
	return errors.Join(c.SetLinger(0), c.Close())
}

// learn has one side write to a peer that is gone, and learn of it by the RST
// that comes back.
func (s *stage) learn(who string, c *net.TCPConn, p pipe) error {
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return checkf("the %s's write: %v; want no error", who, err)
	}
	s.say("The " + who + "'s write returned without an error.")
	if err := s.ends("the "+who+" has written", p, trace.Closed, trace.Closed); err != nil {
		return err
	}
	return s.failed("Its read", s.receive(c, 1), syscall.ECONNRESET)
}
