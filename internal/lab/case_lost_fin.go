package lab

import (
	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func lostFIN() *Scenario {
	return &Scenario{
		Name:  "lost-fin",
		Title: "The client's FIN is lost, and sent again",
		Life: "Any link that drops a packet now and then. Nothing but time is lost: the FIN is sent again after " +
			"the retransmission timeout, at least 200 ms on Linux.",
		Cure: "None is needed. FIN_WAIT_1 that lasts means that nothing comes back from the peer at all.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.FIN, Nth: 1, Drop: true}},
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := client.Close(); err != nil {
				return err
			}
			if err := s.ends("the FIN is lost", p, trace.FinWait1, trace.Established); err != nil {
				return err
			}
			if err := s.ends("it was sent again", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			if err := server.Close(); err != nil {
				return err
			}
			s.expect("Lost FIN", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
				states: states{trace.TimeWait, trace.Closed},
				also: func(v *trace.Conn) error {
					if v.Retransmits != [2]uint32{1, 0} {
						return checkf("%v segments sent again, want 1 by the client", v.Retransmits)
					}
					return nil
				},
			})
			return s.ends("the server has closed", p, trace.TimeWait, trace.Closed)
		},
	}
}
