package lab

import (
	"fmt"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func synCookies() *Scenario {
	return &Scenario{
		Name:  "syn-cookies",
		Title: "SYN cookies: a server that remembers no SYN",
		Life: "A flood of SYNs, or a burst of clients, fills the queue of half-open connections. The kernel then writes what " +
			"it would remember into the number of its SYN-ACK, and learns of the connection from the ACK.",
		Cure: "None for the flood: cookies are the cure (RFC 4987). Without one, raise the backlog of listen(2). If the " +
			"client's ACK is lost and the server speaks first, the client waits until a timeout of its own: nobody sends the SYN-ACK again.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.ACK, Hold: true}}, // for a look at both ends before it comes
		run: func(s *stage) error {
			// 2: always, as with 1 (the default) when the queue is full.
			if err := s.setSysctl(s.server, "net.ipv4.tcp_syncookies", "2"); err != nil {
				return err
			}
			ln, err := s.listen(s.server, serverPort)
			if err != nil {
				return err
			}
			a, err := s.dialing(serverPort)
			if err != nil {
				return err
			}
			if err := s.returned(a, 0); err != nil {
				return err
			}
			established := states{trace.Established, trace.Established}
			if err := s.endsDiffer("connect has returned", a.pipe, established, states{trace.Established, trace.Closed}); err != nil {
				return err
			}
			if err := s.lift(0); err != nil {
				return err
			}
			if _, err := s.accept(ln); err != nil {
				return err
			}
			s.expect("Handshake", a.pipe, outcome{handshake: trace.ThreeWay, states: established})
			if err := s.countCookies(); err != nil {
				return err
			}
			return s.ends("its ACK has come", a.pipe, trace.Established, trace.Established)
		},
	}
}

// countCookies says what the server's kernel has counted.
func (s *stage) countCookies() error {
	c, err := s.counters(s.server)
	if err != nil {
		return err
	}
	sent, received := c["TcpExtSyncookiesSent"], c["TcpExtSyncookiesRecv"]
	s.say(fmt.Sprintf("Here net.ipv4.tcp_syncookies is 2: always cookies. The server has no socket until the ACK comes. "+
		"TcpExtSyncookiesSent %d, SyncookiesRecv %d.", sent, received))
	if sent != 1 || received != 1 {
		return checkf("%d cookies sent and %d received, want one", sent, received)
	}
	return nil
}
