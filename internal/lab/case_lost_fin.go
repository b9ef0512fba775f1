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
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.FIN, Drop: true}},
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := client.Close(); err != nil {
				return err
			}
			if err := s.caught(0); err != nil {
				return err
			}
			if err := s.ends("the FIN is lost", p, trace.FinWait1, trace.Established); err != nil {
				return err
			}
			if err := s.lift(0); err != nil {
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
				also:   func(v *trace.Conn) error { return finSentAgain(v, trace.Client) },
			})
			return s.ends("the server has closed", p, trace.TimeWait, trace.Closed)
		},
	}
}

func lostLastACK() *Scenario {
	return &Scenario{
		Name:  "lost-last-ack",
		Title: "The last ACK is lost: what TIME_WAIT is for",
		Life: "Nobody acknowledges an ACK, so the client cannot know that its last one was lost. The server, in LAST_ACK, " +
			"sends its FIN again, and TIME_WAIT is still there to answer it.",
		Cure: "None is needed, but leave TIME_WAIT alone. Without it the server's FIN would draw a RST, and late segments " +
			"could be taken for those of a new connection between the same ports.",
		wire: []privnet.Rule{{From: privnet.A, Filter: pureACK, Skip: 1, Drop: true}}, // 1: the handshake's
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
			if err := s.caught(0); err != nil {
				return err
			}
			s.say("The capture is before the loss: by the wire the last ACK is taken as said, until the FIN comes again.")
			wire := states{trace.TimeWait, trace.Closed}
			if err := s.endsDiffer("the last ACK is lost", p, wire, states{trace.TimeWait, trace.LastAck}); err != nil {
				return err
			}
			if err := s.lift(0); err != nil {
				return err
			}
			s.expect("Lost ACK", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient, states: wire,
				also: func(v *trace.Conn) error { return finSentAgain(v, trace.Server) },
			})
			return s.ends("TIME_WAIT has answered", p, trace.TimeWait, trace.Closed)
		},
	}
}

// finSentAgain checks that one side has sent its FIN more than once, and nothing
// else. On a busy machine the other may have done so, too.
func finSentAgain(v *trace.Conn, side trace.Side) error {
	if again := v.Retransmits[side]; again == 0 || v.FIN[side] != again+1 {
		return checkf("%v segments sent again, %v FINs; want the %v's FIN again", v.Retransmits, v.FIN, side)
	}
	return nil
}
