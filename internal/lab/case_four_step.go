package lab

import "finack/trace"

func fourStepClientFirst() *Scenario {
	return &Scenario{
		Name:  "four-step-client-first",
		Title: "The client closes, the server later: FIN, ACK, FIN, ACK",
		Life: "A client that has all it wants closes; the server reads the end of file (recv returns 0) and " +
			"closes when it is done. TIME_WAIT stays with the client, who closed first.",
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := client.Close(); err != nil {
				return err
			}
			if err := s.ends("the client has closed", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			if err := server.Close(); err != nil {
				return err
			}
			s.expect("Teardown", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
				states: states{trace.TimeWait, trace.Closed},
			})
			return s.ends("the server, too", p, trace.TimeWait, trace.Closed)
		},
	}
}
