package lab

import (
	"net"

	"finack/trace"
)

func fourStepClientFirst() *Scenario {
	return &Scenario{
		Name:  "four-step-client-first",
		Title: "The client closes, the server later: FIN, ACK, FIN, ACK",
		Life: "A client that has all it wants closes; the server reads the end of file (recv returns 0) and " +
			"closes when it is done. TIME_WAIT stays with the client, who closed first.",
		run: func(s *stage) error { return s.closeInTurn(trace.Client) },
	}
}

func fourStepServerFirst() *Scenario {
	return &Scenario{
		Name:  "four-step-server-first",
		Title: "The server closes, the client later: FIN, ACK, FIN, ACK",
		Life: "A server that closes after its answer (Connection: close), or that reaps idle connections. TIME_WAIT " +
			"stays with who closed first: a busy server of this kind has thousands.",
		Cure: "TIME_WAIT is not a leak: each takes a few hundred bytes and no program, and ends after 60 s. To have " +
			"fewer keep connections open for longer, or let the clients close first. A server that restarts " +
			"binds to its port in spite of them with SO_REUSEADDR.",
		run: func(s *stage) error { return s.closeInTurn(trace.Server) },
	}
}

// closeInTurn has one side close and, when that has been acknowledged, the other.
func (s *stage) closeInTurn(first trace.Side) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	ends := [2]*net.TCPConn{client, server}
	closer := [2]trace.Closer{trace.ClosedByClient, trace.ClosedByServer}[first]
	var half, over states
	half[first], half[first.Peer()] = trace.FinWait2, trace.CloseWait
	over[first], over[first.Peer()] = trace.TimeWait, trace.Closed

	if err := ends[first].Close(); err != nil {
		return err
	}
	if err := s.endsDiffer("the "+first.String()+" has closed", p, half, half); err != nil {
		return err
	}
	if err := ends[first.Peer()].Close(); err != nil {
		return err
	}
	s.expect("Teardown", p, outcome{handshake: trace.ThreeWay, teardown: trace.FourStep, closer: closer, states: over})
	return s.endsDiffer("the "+first.Peer().String()+", too", p, over, over)
}
