package lab

import (
	"fmt"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func lostSYN() *Scenario {
	return &Scenario{
		Name:  "lost-syn",
		Title: "The SYN is lost, and sent again after a second",
		Life: "A full queue, a link that drops. There is no round trip yet to learn from, so the kernel waits 1 s " +
			"(RFC 6298): connections that take 1 s, 2 s or 3 s to open (1, 3 or 7 before Linux 6.5), while others are fast, are lost SYNs.",
		Cure: "Look for the drops: nstat TcpExtTCPSynRetrans, and ListenOverflows at the server, whose full queue " +
			"drops SYNs as well. Keep connections open rather than opening one for each request.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.SYN, Drop: true}},
		run: func(s *stage) error {
			return s.loseOnce("the SYN is lost", trace.Closed, "The server knows nothing of the first SYN.")
		},
	}
}

func lostSYNACK() *Scenario {
	return &Scenario{
		Name:  "lost-syn-ack",
		Title: "The SYN-ACK is lost: the client sends its SYN again",
		Life: "The way back drops, or takes another way, past a firewall that has not seen the SYN. At the client " +
			"this looks like a lost SYN, packet for packet; only the server knows better.",
		Cure: "Capture at both ends, or ask the server: ss -tan state syn-recv shows who waits for an ACK. One such " +
			"loss costs 1 s. If it is every SYN-ACK, look at the route back, and at rp_filter.",
		wire: []privnet.Rule{
			{From: privnet.B, Flags: decode.SYN | decode.ACK, Drop: true},
			// The SYN-ACK's timer is as long as the SYN's, and should not be the first.
			{From: privnet.A, Flags: decode.SYN, Nth: 1, Delay: 400 * time.Millisecond},
		},
		run: func(s *stage) error {
			return s.loseOnce("the SYN-ACK is lost", trace.SynReceived, "The server's kernel is in SYN_RECEIVED: it has answered.")
		},
	}
}

// loseOnce connects the client to the server over a wire that loses a segment
// of the handshake until the states have been seen: the server is in one then of
// which no packet tells at the client's end.
func (s *stage) loseOnce(what string, server trace.State, seen string) error {
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	a, err := s.dialing(serverPort)
	if err != nil {
		return err
	}
	if err := s.endsDiffer(what, a.pipe, states{trace.SynSent, trace.Unknown}, states{trace.SynSent, server}); err != nil {
		return err
	}
	s.say(seen)
	if err := s.caught(0); err != nil {
		return err
	}
	if err := s.lift(0); err != nil {
		return err
	}
	if err := s.returned(a, 0); err != nil {
		return err
	}
	if _, err := s.accept(ln); err != nil {
		return err
	}
	c, err := s.counters(s.client)
	if err != nil {
		return err
	}
	again := c["TcpExtTCPSynRetrans"]
	s.say(fmt.Sprintf("connect(2) took %.2f s. TcpExtTCPSynRetrans of the client's host: %d.", a.took.Seconds(), again))
	s.expect("Handshake", a.pipe, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown,
		states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			if again < 1 || int64(v.SYNRetransmits) != again || v.HasRTT || a.took < almost(time.Second) {
				return checkf("%d SYNs again, TCPSynRetrans %d, round trip %v, connected after %v; want a SYN again after 1 s",
					v.SYNRetransmits, again, v.RTT, a.took)
			}
			return nil
		},
	})
	return s.ends("the SYN came again", a.pipe, trace.Established, trace.Established)
}
