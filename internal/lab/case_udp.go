package lab

import (
	"net"

	"finack/internal/privnet"
	"finack/trace"
)

// udpPort is where the scenarios of UDP have a server, or none.
const udpPort = 7

func udpEcho() *Scenario {
	return &Scenario{
		Name:  "udp-echo",
		Title: "UDP: a question and an answer, and no more",
		Life: "DNS, NTP, and echo itself (RFC 862). There is no handshake and no close: connect(2) of a UDP socket sends nothing, " +
			"it only remembers the peer, and close(2) sends nothing, either. A flow ends for who watches when it has been silent for long.",
		run: func(s *stage) error {
			server, err := s.listenUDP(s.server, udpPort)
			if err != nil {
				return err
			}
			client, err := s.dialUDP(s.client, server.LocalAddr())
			if err != nil {
				return err
			}
			var c calls
			c.write("client", client, "hello")
			c.answer("server", server)
			c.read("client", client)
			c.close("client", client)
			if err := s.tell("All that was called after socket, bind and connect:", &c,
				`client: write("hello") = 5`,
				`server: recvfrom("hello") = 5`,
				`server: sendto("hello") = 5`,
				`client: read("hello") = 5`,
				`client: close() = 0`); err != nil {
				return err
			}
			p := pipeOf(client)
			s.expect("UDP echo", p, outcome{also: func(v *trace.Conn) error {
				if v.Packets != [2]uint64{1, 1} || v.Bytes != [2]uint64{5, 5} || v.Unreachable {
					return checkf("%v datagrams of %v bytes, unreachable %v; want one of 5 bytes each way", v.Packets, v.Bytes, v.Unreachable)
				}
				return nil
			}})
			return s.awaitSeen(p, "the answer", 2, ofKind(trace.DatagramSeen))
		},
	}
}

// ofKind matches events of a kind.
func ofKind(k trace.Kind) func(*trace.Event) bool {
	return func(e *trace.Event) bool { return e.Kind == k }
}

// listenUDP opens a UDP socket at a port of a host's address, 0 being any.
func (s *stage) listenUDP(h *privnet.Host, port int) (c *net.UDPConn, err error) {
	err = h.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: h.Addr.AsSlice(), Port: port})
		return err
	})
	if err == nil {
		s.atEnd(c)
	}
	return c, err
}

// dialUDP opens a UDP socket of a host that is connected to an address.
func (s *stage) dialUDP(h *privnet.Host, addr net.Addr) (c *net.UDPConn, err error) {
	err = h.Do(func() (err error) {
		c, err = net.DialUDP("udp4", nil, addr.(*net.UDPAddr))
		return err
	})
	if err == nil {
		s.atEnd(c)
	}
	return c, err
}
