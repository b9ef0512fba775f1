package lab

import (
	"net"

	"finack/internal/kernel"
	"finack/trace"
)

func udpToNobody() *Scenario {
	return &Scenario{
		Name:  "udp-to-nobody",
		Title: "UDP to a closed port: ICMP, and who hears of it",
		Life: "The DNS or syslog server is down. Its kernel answers each datagram with ICMP port unreachable. The write that " +
			"sent it has succeeded long before, so a connected socket learns it from its next call, whichever that is, once: " +
			"ECONNREFUSED. A socket that is not connected, and sends by sendto, is told nothing at all.",
		Cure: "Connect the socket, or set IP_RECVERR (ip(7)); and time out all the same: behind a firewall there is no ICMP, " +
			"and hosts limit how much of it they send.",
		run: writeToNobody,
	}
}

func writeToNobody(s *stage) error {
	nobody := &net.UDPAddr{IP: s.server.Addr.AsSlice(), Port: udpPort}
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	connected, err := s.dialUDP(s.client, nobody)
	if err != nil {
		return err
	}
	var c calls
	c.write("client", connected, "hello")
	if err := s.grown(s.client, before, kernel.Counters{"IcmpInDestUnreachs": 1}); err != nil {
		return err
	}
	c.read("client", connected)
	c.tryRead("client", connected)
	c.write("client", connected, "hello?")
	if err := s.grown(s.client, before, kernel.Counters{"IcmpInDestUnreachs": 2}); err != nil {
		return err
	}
	c.write("client", connected, "hello!")
	if err := s.tell("Connected: each ICMP message fails one call, the next, be it a read or a write:", &c,
		`client: write("hello") = 5`,
		`client: read() = -1 ECONNREFUSED`,
		`client: recv(MSG_DONTWAIT) = -1 EAGAIN`,
		`client: write("hello?") = 6`,
		`client: write("hello!") = -1 ECONNREFUSED`); err != nil {
		return err
	}
	if err := s.expectNobody("Connected", connected, nobody); err != nil {
		return err
	}
	return s.sendToNobody(nobody)
}

// sendToNobody does the same with a socket that is not connected.
func (s *stage) sendToNobody(nobody *net.UDPAddr) error {
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	free, err := s.listenUDP(s.client, 0)
	if err != nil {
		return err
	}
	var c calls
	for n := range int64(2) {
		c.sendTo("client", free, "hello", nobody)
		if err := s.grown(s.client, before, kernel.Counters{"IcmpInDestUnreachs": n + 1}); err != nil {
			return err
		}
		c.tryRead("client", free)
	}
	if err := s.tell("Not connected: the same ICMP messages have come, and no call says so:", &c,
		`client: sendto("hello") = 5`,
		`client: recv(MSG_DONTWAIT) = -1 EAGAIN`,
		`client: sendto("hello") = 5`,
		`client: recv(MSG_DONTWAIT) = -1 EAGAIN`); err != nil {
		return err
	}
	return s.expectNobody("By sendto", free, nobody)
}

// expectNobody expects two datagrams and two ICMP messages that answer them.
func (s *stage) expectNobody(title string, c *net.UDPConn, nobody net.Addr) error {
	p := pipe{addrPort(c.LocalAddr()), addrPort(nobody)}
	s.expect(title, p, outcome{also: func(v *trace.Conn) error {
		if v.Packets != [2]uint64{2, 0} || !v.Unreachable || v.ICMPCode != portUnreachable {
			return checkf("%v datagrams, unreachable %v, code %d; want 2 by the client and port unreachable", v.Packets, v.Unreachable, v.ICMPCode)
		}
		return nil
	}})
	return s.awaitSeen(p, "two ICMP messages", 2, ofKind(trace.ICMPSeen))
}

// portUnreachable is ICMP's code of it (RFC 792).
const portUnreachable = 3
