package lab

import (
	"fmt"

	"finack/trace"
)

func halfClose() *Scenario {
	return &Scenario{
		Name:  "half-close",
		Title: "One direction is closed, and the other goes on",
		Life: "A client that says \"that was all\" with shutdown(SHUT_WR) and waits for the rest of the answer: rsh, " +
			"nc -N, a proxy that hands on an end of file. The server may send for as long as it likes.",
		Cure: "Nothing is wrong while data flows. A server must not take the end of file for the end of the connection, " +
			"and a proxy must hand it on as a shutdown, not as a close. Without data, CLOSE_WAIT means that the " +
			"server's program forgets to close.",
		run: func(s *stage) error {
			messages := []string{"first line\n", "second line\n", "third line\n"}
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := client.CloseWrite(); err != nil {
				return err
			}
			if err := s.receiveEnd(server); err != nil {
				return err
			}
			if err := s.ends("shutdown(SHUT_WR)", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			sent := 0
			for _, text := range messages {
				if err := s.pass(server, client, text); err != nil {
					return err
				}
				sent += len(text)
			}
			if err := s.ends("the server has sent", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			s.say(fmt.Sprintf("After its shutdown the client has read %d bytes.", sent))
			if err := server.Close(); err != nil {
				return err
			}
			s.expect("Half-close", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
				states: states{trace.TimeWait, trace.Closed},
				also:   func(v *trace.Conn) error { return halfClosedBy(v, trace.Client, sent) },
			})
			if err := s.receiveEnd(client); err != nil {
				return err
			}
			return s.ends("the server has closed", p, trace.TimeWait, trace.Closed)
		},
	}
}

// halfClosedBy checks who closed its direction, and how many bytes the other
// side sent then: with retransmissions, which a busy machine makes.
func halfClosedBy(v *trace.Conn, by trace.Side, n int) error {
	h, want := v.HalfClose, uint64(n)
	again := v.Retransmits[by.Peer()] > 0
	if !h.Seen || h.By != by || h.Bytes < want || h.Bytes > want && !again {
		return checkf("half-close %v by %v, then %d bytes; want it by %v, then %d", h.Seen, h.By, h.Bytes, by, want)
	}
	return nil
}
