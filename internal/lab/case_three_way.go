package lab

import "finack/trace"

func threeWay() *Scenario {
	return &Scenario{
		Name:  "three-way",
		Title: "The ordinary handshake: SYN, SYN-ACK, ACK",
		Life: "Every connect(2) to a listener with room. The client's connect returns with the SYN-ACK, " +
			"the server's accept with the ACK, half a round trip later.",
		run: func(s *stage) error {
			client, _, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			s.expect("Handshake", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.NoTeardown,
				states: states{trace.Established, trace.Established},
			})
			return s.ends("connect has returned", p, trace.Established, trace.Established)
		},
	}
}
