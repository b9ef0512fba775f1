package lab

import (
	"fmt"

	"finack/internal/kernel"
	"finack/raw"
	"finack/trace"
)

func backlogOverflow() *Scenario {
	return &Scenario{
		Name:  "backlog-overflow",
		Title: "The accept queue is full: SYNs are dropped",
		Life: "The server accepts too slowly: it is stuck, out of threads or descriptors, or has a small backlog and many " +
			"clients come at once. Clients see connects that take 1 s and more, or time out; the server sees nothing.",
		Cure: "ss -ltn: Recv-Q above Send-Q is a full queue; nstat TcpExtListenOverflows counts. Find out why the program " +
			"does not accept. For bursts raise the backlog of listen(2), and net.core.somaxconn, which caps it.",
		run: func(s *stage) error {
			ln, err := s.lazyListener(1)
			if err != nil {
				return err
			}
			for i := range 2 { // backlog + 1
				if err := s.queued(ln, i+1); err != nil {
					return err
				}
			}
			return s.turnedAway(ln)
		},
	}
}

// lazyListener has the server listen, and not accept.
func (s *stage) lazyListener(backlog int) (*raw.Conn, error) {
	ln, err := s.bound(s.server, socketPort(s.server.Addr, serverPort))
	if err != nil {
		return nil, err
	}
	return ln, ln.Listen(backlog)
}

// awaitQueue waits until so many connections wait for accept(2).
func (s *stage) awaitQueue(ln *raw.Conn, want int) error {
	rc, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	return await(s.ctx, s.patience(), func() error {
		l, err := kernel.ListenerOf(rc)
		if err == nil && l.Queue != want {
			err = checkf("%d connections in the queue, want %d", l.Queue, want)
		}
		return err
	})
}

// queued connects one more client, which fits the queue.
func (s *stage) queued(ln *raw.Conn, queue int) error {
	a, err := s.dialing(serverPort)
	if err != nil {
		return err
	}
	if err := s.returned(a, 0); err != nil {
		return err
	}
	s.expect("", a.pipe, outcome{handshake: trace.ThreeWay, states: states{trace.Established, trace.Established}})
	return s.awaitQueue(ln, queue)
}

// turnedAway connects a client to a full queue. It gets in with a later SYN,
// after one connection has been accepted.
func (s *stage) turnedAway(ln *raw.Conn) error {
	a, err := s.dialing(serverPort)
	if err != nil {
		return err
	}
	if err := s.awaitOverflow(); err != nil {
		return err
	}
	sent := states{trace.SynSent, trace.Unknown}
	if err := s.endsDiffer("the queue is full", a.pipe, sent, states{trace.SynSent, trace.Closed}); err != nil {
		return err
	}
	if !a.under() {
		return checkf("connect(2) to a full queue has returned")
	}
	first, err := ln.Accept()
	if err != nil {
		return err
	}
	s.atEnd(first)
	if err := s.returned(a, 0); err != nil {
		return err
	}
	if err := s.expectLate(a); err != nil {
		return err
	}
	return s.ends("one was accepted", a.pipe, trace.Established, trace.Established)
}

// awaitOverflow waits until the server's host has dropped a SYN for a full queue.
func (s *stage) awaitOverflow() error {
	return await(s.ctx, s.patience(), func() error {
		c, err := s.counters(s.server)
		if err == nil && c["TcpExtListenOverflows"] == 0 {
			err = checkf("listen(1) with 2 connections in its queue has dropped no SYN")
		}
		return err
	})
}

// expectLate says what must come of the client that got in late: a SYN again for
// each that the kernel has counted as dropped.
func (s *stage) expectLate(a *attempt) error {
	c, err := s.counters(s.server)
	if err != nil {
		return err
	}
	overflows, drops := c["TcpExtListenOverflows"], c["TcpExtListenDrops"]
	s.say(fmt.Sprintf("listen(1) queued 2 connections, and dropped SYNs of the third: ListenOverflows %d, ListenDrops %d.", overflows, drops))
	s.say(fmt.Sprintf("After an accept(2) the third got in: its connect(2) took %.2f s.", a.took.Seconds()))
	s.expect("Third", a.pipe, outcome{
		handshake: trace.ThreeWay, states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			again := int64(v.SYNRetransmits)
			if again < 1 || again != overflows || again != drops || v.SYN[trace.Server] != 1 {
				return checkf("%d SYNs again, ListenOverflows %d, ListenDrops %d; want as many", again, overflows, drops)
			}
			return nil
		},
	})
	return nil
}
