package lab

import (
	"io"
	"syscall"

	"finack/trace"
)

func rstUnreadData() *Scenario {
	return &Scenario{
		Name:  "rst-unread-data",
		Title: "close with unread data: a RST instead of a FIN",
		Life: "A server that answers early and closes without reading the rest: an upload that is refused, a newline " +
			"behind the request. The client gets \"connection reset by peer\", and what the server had sent last may be lost.",
		Cure: "Read to the end before close: shutdown(SHUT_WR) first, then read and throw away until the end of file or a " +
			"limit. TcpExtTCPAbortOnClose counts such closes.",
		run: func(s *stage) error {
			const request, answer = "request\n", "answer\n"
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if _, err := io.WriteString(client, request); err != nil {
				return err
			}
			if err := s.received(s.server, p.reverse(), len(request)); err != nil {
				return err
			}
			if _, err := io.WriteString(server, answer); err != nil {
				return err
			}
			// An ACK that finds no socket would draw a second RST.
			if err := s.acknowledged(s.server, p.reverse()); err != nil {
				return err
			}
			if err := server.Close(); err != nil {
				return err
			}
			if err := s.ends("the server has closed", p, trace.Closed, trace.Closed); err != nil {
				return err
			}
			if err := s.receive(client, len(answer)); err != nil {
				return checkf("the client reads the answer: %v", err)
			}
			s.say("The client has read the answer, which came before the RST. Linux keeps it; not every system does.")
			if err := s.failed("Its next read", s.receive(client, 1), syscall.ECONNRESET); err != nil {
				return err
			}
			s.expect("Reset", p, resetBy(trace.Server, trace.NoTeardown, trace.NoCloser, 1))
			return s.counted("server", s.server, "TcpExtTCPAbortOnClose", 1)
		},
	}
}

func rstLinger0() *Scenario {
	return &Scenario{
		Name:  "rst-linger-0",
		Title: "SO_LINGER with 0 s: close sends a RST, no TIME_WAIT",
		Life: "Load generators and health checks that want no TIME_WAIT, programs that throw a bad peer out. The peer " +
			"gets ECONNRESET, although nothing was wrong.",
		Cure: "Use it to abort, not to close: what was not sent is thrown away, and the peer cannot tell it from a crash. " +
			"Against many TIME_WAITs keep connections open. TcpExtTCPAbortOnData counts such closes.",
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := s.abort(client); err != nil {
				return err
			}
			if err := s.ends("the client has closed", p, trace.Closed, trace.Closed); err != nil {
				return err
			}
			if err := s.failed("The server's read", s.receive(server, 1), syscall.ECONNRESET); err != nil {
				return err
			}
			s.expect("Reset", p, resetBy(trace.Client, trace.NoTeardown, trace.NoCloser, 1))
			return s.counted("client", s.client, "TcpExtTCPAbortOnData", 1)
		},
	}
}

func rstWriteToClosed() *Scenario {
	return &Scenario{
		Name:  "rst-write-to-closed",
		Title: "A write to a peer that has closed draws a RST",
		Life: "A client that writes into a connection which the server has closed meanwhile: a pooled connection past " +
			"its idle timeout, a log sender. The first write succeeds, as the client cannot know; the data is lost.",
		Cure: "Take the end of file seriously: read, or poll for POLLRDHUP, before a connection from the pool is used. Let the " +
			"client's idle timeout be shorter than the server's, and repeat only what may be repeated. " +
			"A write that succeeds proves nothing: only an answer does.",
		run: func(s *stage) error {
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := server.Close(); err != nil {
				return err
			}
			if err := s.ends("the server has closed", p, trace.CloseWait, trace.FinWait2); err != nil {
				return err
			}
			if err := s.writeAgain("client", client, p); err != nil {
				return err
			}
			s.expect("Reset", p, resetBy(trace.Server, trace.HalfClosed, trace.ClosedByServer, 1))
			return nil
		},
	}
}
