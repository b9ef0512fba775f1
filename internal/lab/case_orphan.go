package lab

import (
	"fmt"
	"io"
	"syscall"

	"finack/trace"
)

func orphanFinWait2() *Scenario {
	return &Scenario{
		Name:  "orphan-fin-wait-2",
		Title: "The client closes, the server never does",
		Life: "The server's program does not close what has ended: it forgets the socket, or it waits elsewhere. The " +
			"client's FIN_WAIT_2 belongs to no program any more; its kernel drops it after tcp_fin_timeout (60 s), " +
			"and tells nobody.",
		Cure: "The server must close when it reads the end of file: no timer ends its CLOSE_WAIT. The client needs nothing; " +
			"a shorter tcp_fin_timeout or TCP_LINGER2 ends FIN_WAIT_2 sooner, and the server learns of it no sooner.",
		run: func(s *stage) error {
			if err := s.setSysctl(s.client, "net.ipv4.tcp_fin_timeout", "1"); err != nil {
				return err
			}
			client, server, err := s.pair()
			if err != nil {
				return err
			}
			p := pipeOf(client)
			if err := client.Close(); err != nil {
				return err
			}
			if err := s.orphaned(p); err != nil {
				return err
			}
			wire := states{trace.FinWait2, trace.CloseWait}
			if err := s.endsDiffer("1 s later", p, wire, states{trace.Closed, trace.CloseWait}); err != nil {
				return err
			}
			if err := s.writeAgain("server", server, p); err != nil {
				return err
			}
			s.expect("Orphan", p, resetBy(trace.Client, trace.HalfClosed, trace.ClosedByClient, 1))
			return nil
		},
	}
}

// orphaned waits until the client has closed and its FIN_WAIT_2 is no program's.
func (s *stage) orphaned(p pipe) error {
	if err := s.ends("the client has closed", p, trace.FinWait2, trace.CloseWait); err != nil {
		return err
	}
	k, err := s.socket(s.client, p)
	if err != nil {
		return err
	}
	if k.State != trace.FinWait2 || k.Inode != 0 || k.Expires <= 0 {
		return checkf("%v in %v with inode %d, its timer %v: want FIN_WAIT_2 of no program, with a timer", p.client, k.State, k.Inode, k.Expires)
	}
	s.say(fmt.Sprintf("The client's FIN_WAIT_2 belongs to no program, and has %d ms left of tcp_fin_timeout, which is 1 s here.", k.Expires.Milliseconds()))
	return nil
}

// writeAgain writes twice to a peer that is gone: the first write draws a RST,
// and the second fails.
func (s *stage) writeAgain(who string, c io.Writer, p pipe) error {
	const text = "late\n"
	n, err := io.WriteString(c, text)
	if err != nil || n != len(text) {
		return checkf("the %s's first write: %d bytes, %v; want %d", who, n, err, len(text))
	}
	s.say(fmt.Sprintf("The %s's first write returned %d, without an error.", who, n))
	if err := s.ends("the "+who+" has written", p, trace.Closed, trace.Closed); err != nil {
		return err
	}
	_, err = io.WriteString(c, text)
	return s.failed("Its second write", err, syscall.EPIPE)
}
