package lab

import (
	"fmt"
	"io"
	"net"

	"finack/internal/privnet"
	"finack/trace"
)

func finWithData() *Scenario {
	return &Scenario{
		Name:  "fin-with-data",
		Title: "The last data and the FIN are one segment",
		Life: "What is written last and has not left yet when the program closes: it waits for the ACK of a segment " +
			"before it (Nagle, as here), for window, or for more (MSG_MORE, TCP_CORK). close(2) sends it with the FIN.",
		Cure: "Nothing is wrong: the data counts, then the FIN, and the ACK is by one higher. What looks for a FIN " +
			"without data, in a filter or a capture, misses it.",
		wire: []privnet.Rule{{From: privnet.B, Filter: pureACK, Hold: true}},
		run: func(s *stage) error {
			const first, last = "good", "bye\n"
			// Without an ACK the client would soon send the FIN again as a probe (RFC 8985).
			if err := s.setSysctl(s.client, "net.ipv4.tcp_early_retrans", "0"); err != nil {
				return err
			}
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := writeAndClose(client, first, last); err != nil {
				return err
			}
			all := len(first) + len(last) + 1
			if err := s.received(s.server, p.reverse(), all); err != nil {
				return err
			}
			s.say(fmt.Sprintf("The server has %d to read: %d bytes, and the FIN, which counts as one.", all, all-1))
			if err := s.lift(0); err != nil {
				return err
			}
			if err := s.ends("the client has closed", p, trace.FinWait2, trace.CloseWait); err != nil {
				return err
			}
			if err := s.receive(server, all-1); err != nil {
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

// writeAndClose writes twice and closes. The second text waits for the ACK of the first.
func writeAndClose(c *net.TCPConn, first, last string) error {
	if err := c.SetNoDelay(false); err != nil {
		return err
	}
	for _, text := range []string{first, last} {
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
	}
	return c.Close()
}

// finCarries checks that the first FIN's own segment has brought so many bytes.
func finCarries(v *trace.Conn, n int) error {
	if got := int(v.Steps[1].Ack-v.Steps[0].Seq) - 1; got != n {
		return checkf("%d bytes with the FIN, want %d", got, n)
	}
	return nil
}
