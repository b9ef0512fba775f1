package lab

import (
	"fmt"
	"io"

	"finack/trace"
)

func finWithData() *Scenario {
	return &Scenario{
		Name:  "fin-with-data",
		Title: "The last data and the FIN are one segment",
		Life: "What is written last and has not left yet when the program closes: it waits for the ACK of a segment " +
			"before it (Nagle), for window, or for more (MSG_MORE, TCP_CORK). close(2) sends it with the FIN.",
		Cure: "Nothing is wrong: the data counts, then the FIN, and the ACK is by one higher. Filters for pure FINs, and " +
			"tools that count them, miss it.",
		run: func(s *stage) error {
			const last = "goodbye"
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := setTCP(client, "TCP_CORK", tcpCork, 1); err != nil {
				return err
			}
			if _, err := io.WriteString(client, last); err != nil {
				return err
			}
			if err := client.Close(); err != nil {
				return err
			}
			if err := s.ends("the client has closed", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			if err := s.received(s.server, p.reverse(), len(last)+1); err != nil {
				return err
			}
			s.say(fmt.Sprintf("The server has %d to read: %d bytes, and the FIN, which counts as one.", len(last)+1, len(last)))
			if err := s.receive(server, len(last)); err != nil {
				return err
			}
			if err := s.receiveEnd(server); err != nil {
				return err
			}
			if err := server.Close(); err != nil {
				return err
			}
			s.expect("Teardown", p, outcome{
				handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
				states: states{trace.TimeWait, trace.Closed},
				also:   func(v *trace.Conn) error { return finCarries(v, len(last)) },
			})
			return s.ends("the server, too", p, trace.TimeWait, trace.Closed)
		},
	}
}

// finCarries checks that the first FIN's own segment has brought so many bytes.
func finCarries(v *trace.Conn, n int) error {
	if got := int(v.Steps[1].Ack-v.Steps[0].Seq) - 1; got != n || v.Bytes[v.Steps[0].From] != uint64(n) {
		return checkf("%d bytes with the FIN of %d bytes in all, want %d", got, v.Bytes[v.Steps[0].From], n)
	}
	return nil
}
