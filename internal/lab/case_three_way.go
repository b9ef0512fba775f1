package lab

import (
	"fmt"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func threeWay() *Scenario {
	// The SYN-ACK and the ACK take as long: time for a look at what each end
	// knows meanwhile.
	const delay = 200 * time.Millisecond
	return &Scenario{
		Name:  "three-way",
		Title: "The ordinary handshake: SYN, SYN-ACK, ACK",
		Life: "Every connect(2) to a listener with room. The client's connect returns with the SYN-ACK, " +
			"the server's accept with the ACK, half a round trip later.",
		wire: []privnet.Rule{
			{From: privnet.B, Flags: decode.SYN | decode.ACK, Delay: delay},
			{From: privnet.A, Flags: decode.ACK, Delay: delay},
		},
		run: func(s *stage) error {
			ln, err := s.listen(s.server, serverPort)
			if err != nil {
				return err
			}
			a, err := s.dialing(socketPort(s.server.Addr, serverPort))
			if err != nil {
				return err
			}
			if err := s.endsDiffer("the server has the SYN", a.pipe, states{trace.SynSent, trace.Unknown}, states{trace.SynSent, trace.SynReceived}); err != nil {
				return err
			}
			if err := s.returned(a, 0); err != nil {
				return err
			}
			// The ACK, on its way, is taken as said.
			established := states{trace.Established, trace.Established}
			if err := s.endsDiffer("connect has returned", a.pipe, established, states{trace.Established, trace.SynReceived}); err != nil {
				return err
			}
			if _, err := s.accept(ln); err != nil {
				return err
			}
			s.say(fmt.Sprintf("connect(2) returned after %.2f s, accept(2) after %.2f s. The SYN-ACK took 0.2 s, and so did the ACK.",
				a.took.Seconds(), time.Since(a.begun).Seconds()))
			s.expect("Handshake", a.pipe, outcome{handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: established})
			return s.ends("accept has returned", a.pipe, trace.Established, trace.Established)
		},
	}
}
