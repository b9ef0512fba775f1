package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"finack/trace"
)

// Of the clients whose connections are reaped so many read on and close, and so
// many wait in a pool that does not look; reapIdle is how long the server waits.
const (
	reapReaders = 8
	reapPool    = 8
	reapIdle    = 50 * time.Millisecond
)

func idleReaper() *Scenario {
	return &Scenario{
		Name:  "idle-reaper",
		Title: "Idle connections are reaped, a pool does not notice",
		Life: "A server, proxy or load balancer closes what is idle for longer than its limit. Clients that read notice, " +
			"close, too, and leave TIME_WAIT at the server. A pool that reads only when it has asked does not: its sockets " +
			"stay in CLOSE_WAIT, and the next request over one is lost to a reset. The mirrored case is a server that does " +
			"not notice that its clients were restarted.",
		Cure: "TIME_WAIT at the server is harmless. CLOSE_WAIT is cured where it is: a pool must drop idle connections " +
			"sooner than the server does, and look at one before using it (recv with MSG_PEEK|MSG_DONTWAIT gives 0: the " +
			"peer has closed). A server must close when recv gives 0.",
		run: reap,
	}
}

func reap(s *stage) error {
	const n = reapReaders + reapPool
	if err := s.unhurried(crowdRTO); err != nil {
		return err
	}
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	c, err := s.crowd(ln, n)
	if err != nil {
		return err
	}
	if err := s.count("16 clients, all idle", counts{trace.Established: n}, counts{trace.Established: n}); err != nil {
		return err
	}
	if err := reapAll(c.servers); err != nil {
		return err
	}
	if err := s.count("the server reaps them", counts{trace.CloseWait: n}, counts{trace.FinWait2: n}); err != nil {
		return err
	}
	readers, pool := c.clients[:reapReaders], c.clients[reapReaders:]
	for _, client := range readers {
		if got, err := recvNow(client); got != "0" || err != nil {
			return checkf("recv at %v gives %s, %v; want 0", client.LocalAddr(), got, err)
		}
	}
	if err := closeAll(readers); err != nil {
		return err
	}
	if err := s.count("8 of them read 0, close", counts{trace.CloseWait: reapPool}, counts{trace.FinWait2: reapPool, trace.TimeWait: reapReaders}); err != nil {
		return err
	}
	if err := s.sayPool(); err != nil {
		return err
	}
	if err := s.useReaped(pool[0]); err != nil {
		return err
	}
	if err := closeAll(pool); err != nil {
		return err
	}
	if err := s.count("the pool is restarted", counts{}, counts{trace.TimeWait: n - 1}); err != nil {
		return err
	}
	return s.mirrored(ln)
}

// reapAll closes what has had nothing to say for a while.
func reapAll(list []*net.TCPConn) error {
	deadline := time.Now().Add(reapIdle)
	for _, c := range list {
		if err := c.SetReadDeadline(deadline); err != nil {
			return err
		}
		if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return checkf("%v is not idle: %d, %v", c.RemoteAddr(), n, err)
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// sayPool says what the kernel has of the pool's sockets.
func (s *stage) sayPool() error {
	list, err := s.inState(s.client, trace.CloseWait)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].ReadQueue != 1 || list[i].Inode == 0 {
			return checkf("%v has receive queue %d and inode %d; want 1, and the program's", list[i].Local, list[i].ReadQueue, list[i].Inode)
		}
	}
	s.say(fmt.Sprintf("Pool: all %d sockets in CLOSE_WAIT have a receive queue of 1, the FIN that nobody reads.", len(list)))
	return nil
}

// useReaped has the pool ask over a connection that the server has closed.
func (s *stage) useReaped(c *net.TCPConn) error {
	p := pipeOf(c)
	if err := s.ends("before it is used", p, trace.CloseWait, trace.FinWait2); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ask\n")); err != nil {
		return checkf("the first write: %v; want none", err)
	}
	s.expect("Pool's", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.Reset, closer: trace.ClosedByServer,
		states: states{trace.Closed, trace.Closed},
		also: func(v *trace.Conn) error {
			if v.ResetBy != trace.Server || v.ResetAfter != trace.HalfClosed || v.HalfClose.Bytes != 4 {
				return checkf("reset by %v after %v, %d bytes into the half-close; want the server, half-closed, 4", v.ResetBy, v.ResetAfter, v.HalfClose.Bytes)
			}
			return nil
		},
	})
	if err := s.ends("it asked over it", p, trace.Closed, trace.Closed); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ask\n")); !errors.Is(err, syscall.EPIPE) {
		return checkf("the second write: %v; want EPIPE", err)
	}
	s.say("Pool: the first write over a reaped connection succeeds, and draws a RST; the second gives EPIPE. The request is lost.")
	return s.count("it uses one of them", counts{trace.CloseWait: reapPool - 1}, counts{trace.FinWait2: reapPool - 1, trace.TimeWait: reapReaders})
}

// mirrored has clients restart while the server does not read.
func (s *stage) mirrored(ln *net.TCPListener) error {
	const n, left = reapPool, reapReaders + reapPool - 1
	c, err := s.crowd(ln, n)
	if err != nil {
		return err
	}
	if err := closeAll(c.clients); err != nil {
		return err
	}
	p := pipeOf(c.clients[0])
	s.expect("", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
		states: states{trace.TimeWait, trace.Closed},
	})
	if err := s.count("mirrored: 8 restart", counts{trace.FinWait2: n}, counts{trace.CloseWait: n, trace.TimeWait: left}); err != nil {
		return err
	}
	if err := closeAll(c.servers); err != nil {
		return err
	}
	return s.count("then the server, too", counts{trace.TimeWait: n}, counts{trace.TimeWait: left})
}
