package lab

import (
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func crossingFINs() *Scenario {
	return &Scenario{
		Name:  "crossing-fins",
		Title: "Both close at once: the FINs cross on the way",
		Life: "Two peers that end by the same clock or the same event, on a long link: each sends its FIN before it has " +
			"the other's. Neither FIN acknowledges the other: both sides are the active closer, and both get TIME_WAIT.",
		Cure: "None is needed. If the second TIME_WAIT is unwelcome, agree who closes: the other waits for the end of file.",
		wire: []privnet.Rule{
			{From: privnet.A, Flags: decode.FIN, Nth: 1, Hold: true},
			{From: privnet.B, Flags: decode.FIN, Nth: 1, Hold: true},
			{From: privnet.A, Skip: 3, Hold: true}, // what follows SYN, ACK and FIN
			{From: privnet.B, Skip: 2, Hold: true}, // what follows SYN-ACK and FIN
			// A slow handshake has both ends wait longer than 800 ms for an ACK of their FIN.
			{From: privnet.A, Nth: 1, Delay: 300 * time.Millisecond},
			{From: privnet.A, Nth: 2, Delay: 300 * time.Millisecond},
		},
		run: func(s *stage) error {
			p, err := s.closeBoth("both FINs are sent")
			if err != nil {
				return err
			}
			if err := s.lift(0, 1); err != nil {
				return err
			}
			s.say("The client's ACK is on its way, and by the wire taken as said: it follows the client's FIN, so the server has both.")
			wire := states{trace.Closing, trace.TimeWait}
			if err := s.endsDiffer("both have come", p, wire, states{trace.Closing, trace.Closing}); err != nil {
				return err
			}
			if err := s.lift(2, 3); err != nil {
				return err
			}
			s.expectCrossed(p)
			return s.ends("so have their ACKs", p, trace.TimeWait, trace.TimeWait)
		},
	}
}

func crossingFINsOneLost() *Scenario {
	return &Scenario{
		Name:  "crossing-fins-one-lost",
		Title: "Both close at once, and one of the FINs is lost",
		Life: "As crossing-fins, on a link that drops. The side whose FIN is lost is in CLOSING, as it has the other's " +
			"FIN and no ACK; the other, with an ACK and no FIN, is in FIN_WAIT_2, until the FIN is sent again.",
		Cure: "None is needed. CLOSING is rare; many sockets that stay in it mean that FINs or their ACKs are dropped in " +
			"one direction.",
		wire: []privnet.Rule{
			{From: privnet.A, Flags: decode.FIN, Nth: 1, Drop: true},
			{From: privnet.B, Flags: decode.FIN, Hold: true},
			{From: privnet.A, Flags: decode.FIN, Hold: true}, // when it is sent again
		},
		run: func(s *stage) error {
			p, err := s.closeBoth("both FINs are sent")
			if err != nil {
				return err
			}
			if err := s.lift(1); err != nil {
				return err
			}
			s.say("The capture is before the loss: by the wire the server has the client's FIN until that is sent again.")
			if err := s.ends("it is sent again", p, trace.Closing, trace.FinWait2); err != nil {
				return err
			}
			if err := s.lift(2); err != nil {
				return err
			}
			s.expectCrossed(p)
			return s.ends("it has come", p, trace.TimeWait, trace.TimeWait)
		},
	}
}

// closeBoth has both sides close on a wire whose first two rules keep their FINs.
// The capture at the client does not see the server's.
func (s *stage) closeBoth(what string) (pipe, error) {
	client, server, err := s.pair()
	if err != nil {
		return pipe{}, err
	}
	p := pipeOf(client)
	if err := client.Close(); err != nil {
		return p, err
	}
	if err := server.Close(); err != nil {
		return p, err
	}
	if err := s.caught(0, 1); err != nil {
		return p, err
	}
	return p, s.endsDiffer(what, p, states{trace.FinWait1, trace.Established}, states{trace.FinWait1, trace.FinWait1})
}

// expectCrossed says what comes of FINs that have crossed.
func (s *stage) expectCrossed(p pipe) {
	s.expect("Crossing", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.SimultaneousClose, closer: trace.ClosedByBoth,
		states: states{trace.TimeWait, trace.TimeWait},
	})
}
