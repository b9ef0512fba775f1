package lab

import (
	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func threeWay() *Scenario {
	return &Scenario{
		Name:  "three-way",
		Title: "The ordinary handshake: SYN, SYN-ACK, ACK",
		Life: "Every connect(2) to a listener with room. The client's connect returns with the SYN-ACK, " +
			"the server's accept with the ACK, half a round trip later.",
		wire: []privnet.Rule{
			// Held, for a look at what each end knows meanwhile.
			{From: privnet.B, Flags: decode.SYN | decode.ACK, Hold: true},
			{From: privnet.A, Flags: decode.ACK, Hold: true},
		},
		run: func(s *stage) error {
			ln, err := s.listen(s.server, serverPort)
			if err != nil {
				return err
			}
			a, err := s.dialing(serverPort)
			if err != nil {
				return err
			}
			if err := s.endsDiffer("the server has the SYN", a.pipe, states{trace.SynSent, trace.Unknown}, states{trace.SynSent, trace.SynReceived}); err != nil {
				return err
			}
			if !a.under() {
				return checkf("connect(2) has returned before the SYN-ACK")
			}
			if err := s.lift(0); err != nil {
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
			if err := s.lift(1); err != nil {
				return err
			}
			if _, err := s.accept(ln); err != nil {
				return err
			}
			s.say("The wire held the SYN-ACK, and then the ACK, until the states had been seen: connect(2) returned in between, accept(2) after both.")
			s.expect("Handshake", a.pipe, outcome{handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: established})
			return s.ends("accept has returned", a.pipe, trace.Established, trace.Established)
		},
	}
}
