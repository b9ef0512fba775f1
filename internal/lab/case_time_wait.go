package lab

import (
	"fmt"
	"time"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// timeWait is how long Linux keeps TIME_WAIT; no setting changes it.
const timeWait = 60 * time.Second

func timeWaitPileUp() *Scenario {
	return &Scenario{
		Name:  "time-wait-pile-up",
		Title: "TIME_WAIT piles up with whoever closes first",
		Life: "A server that ends every answer with close(2), or reaps idle connections, collects TIME_WAIT: rate of " +
			"connections times 60 s. Where the clients close first, they have it. It protects the next connection " +
			"of the same ports from late segments, and sends the last ACK again if it was lost.",
		Cure: "At a server none is needed: TIME_WAIT has no descriptor, costs some hundred bytes, and does not keep a " +
			"client from coming back (time-wait-reuse). At a client it takes a local port for 60 s, see " +
			"port-exhaustion. Fewer of them: keep connections open and use them again. tcp_fin_timeout " +
			"does not shorten it.",
		run: pileUp,
	}
}

func pileUp(s *stage) error {
	const n = 20
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
	begun := time.Now()
	if err := closeAll(c.servers); err != nil {
		return err
	}
	if err := s.count("the server closes", counts{trace.CloseWait: n}, counts{trace.FinWait2: n}); err != nil {
		return err
	}
	if err := closeAll(c.clients); err != nil {
		return err
	}
	if err := s.count("then the clients", counts{}, counts{trace.TimeWait: n}); err != nil {
		return err
	}
	s.expect("Server 1st", pipeOf(c.clients[0]), outcome{
		handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByServer,
		states: states{trace.Closed, trace.TimeWait},
	})

	if c, err = s.crowd(ln, n); err != nil {
		return err
	}
	if err := closeAll(c.clients); err != nil {
		return err
	}
	if err := s.count("20 new: clients close", counts{trace.FinWait2: n}, counts{trace.CloseWait: n, trace.TimeWait: n}); err != nil {
		return err
	}
	if err := closeAll(c.servers); err != nil {
		return err
	}
	if err := s.count("then the server", counts{trace.TimeWait: n}, counts{trace.TimeWait: n}); err != nil {
		return err
	}
	s.expect("Client 1st", pipeOf(c.clients[0]), outcome{
		handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
		states: states{trace.TimeWait, trace.Closed},
	})
	if err := s.sayTimeWait("Server", s.server, begun); err != nil {
		return err
	}
	return s.sayTimeWait("Client", s.client, begun)
}

// sayTimeWait says what the kernel has of the sockets in TIME_WAIT, which began
// after a time: they are nobody's, and their timer runs.
func (s *stage) sayTimeWait(name string, h *privnet.Host, begun time.Time) error {
	list, err := s.inState(h, trace.TimeWait)
	if err != nil {
		return err
	}
	const slack = time.Second // for the kernel's ticks
	least, most := timeWait+slack, time.Duration(0)
	for i := range list {
		k := &list[i]
		if k.Inode != 0 || k.Timer != kernel.TimerTimeWait || k.Expires > timeWait+slack || k.Expires < timeWait-time.Since(begun)-slack {
			return checkf("%v has inode %d, timer %v, %v left; want 0, timewait, up to %v", k.Local, k.Inode, k.Timer, k.Expires, timeWait)
		}
		least, most = min(least, k.Expires), max(most, k.Expires)
	}
	s.say(fmt.Sprintf("%s: %d in TIME_WAIT, inode 0: no program has them, no descriptor is open. %.1f to %.1f s are left.", name, len(list), least.Seconds(), most.Seconds()))
	return nil
}
