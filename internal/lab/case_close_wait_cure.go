package lab

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"finack/trace"
)

func closeWaitCure() *Scenario {
	return &Scenario{
		Name:  "close-wait-cure",
		Title: "The same server closes at recv() == 0: nothing is left",
		Life: "What every read loop must tell apart: more than 0 is data; 0 is the peer's FIN: close; -1 with EAGAIN " +
			"or EINTR: go on; -1 with anything else, as ECONNRESET: close, too.",
		Cure: "This is the cure of close-wait-leak. The TIME_WAIT at the clients is no leak: whoever closes first has " +
			"it for 60 s, and it costs no descriptor.",
		run: cured,
	}
}

func cured(s *stage) error {
	const n = 50
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
	if err := s.count("all are answered", counts{trace.Established: n}, counts{trace.Established: n}); err != nil {
		return err
	}
	abort, p := c.clients[0], pipeOf(c.clients[n-1])
	got, err := serveToTheEnd(c.servers, func() error {
		for _, client := range c.clients[1:] {
			if _, err := client.Write([]byte("bye\n")); err != nil {
				return err
			}
		}
		return errors.Join(abort.SetLinger(0), closeAll(c.clients))
	})
	if err != nil {
		return err
	}
	if want := (answers{data: n - 1, end: n - 1, again: got.again, reset: 1}); got != want || got.again < n {
		return checkf("recv gave %+v, want %+v and each socket's EAGAIN", got, want)
	}
	if err := s.count("all have closed", counts{trace.TimeWait: n - 1}, counts{}); err != nil {
		return err
	}
	kind, err := s.teardown(p)
	if err != nil {
		return err
	}
	s.expect("One of 50", p, outcome{
		handshake: trace.ThreeWay, teardown: kind, closer: trace.ClosedByClient,
		states: states{trace.TimeWait, trace.Closed},
	})
	s.expect("", pipeOf(abort), outcome{
		handshake: trace.ThreeWay, teardown: trace.Reset,
		states: states{trace.Closed, trace.Closed},
	})
	s.say(fmt.Sprintf("recv gave data %d times; EAGAIN %d times: wait until there is more; 0 %d times: close; ECONNRESET "+
		"once, where a client closed with SO_LINGER 0: close.", got.data, got.again, got.end))
	return s.ends("one of them", p, trace.TimeWait, trace.Closed)
}

// teardown waits until a connection has ended by FINs, in three steps or in
// four: where nobody waits in between, it is a matter of time whether the second
// FIN comes on the acknowledgment of the first.
func (s *stage) teardown(p pipe) (kind trace.TeardownKind, err error) {
	err = s.until(p, "both FINs acknowledged", func(events []trace.Event) bool {
		if v := verdict(events); v != nil && v.Complete {
			kind = v.Teardown
		}
		return kind == trace.ThreeStep || kind == trace.FourStep
	})
	return kind, err
}

// answers counts what recv(2) gave.
type answers struct{ data, end, again, reset int }

// serveToTheEnd reads from every socket until there is nothing more to come,
// and closes it then. It calls begin when each waits for the first time.
func serveToTheEnd(sockets []*net.TCPConn, begin func() error) (sum answers, err error) {
	type result struct {
		answers
		error
	}
	waiting, done := make(chan struct{}, len(sockets)), make(chan result)
	for _, c := range sockets {
		go func() {
			got, err := readToTheEnd(c, func() { waiting <- struct{}{} })
			done <- result{got, err}
		}()
	}
	for range sockets {
		<-waiting
	}
	err = begin()
	for range sockets {
		r := <-done
		sum = answers{sum.data + r.data, sum.end + r.end, sum.again + r.again, sum.reset + r.reset}
		err = errors.Join(err, r.error)
	}
	return sum, err
}

// readToTheEnd reads from a socket as a server must, and closes it. Nothing has
// arrived at first: it calls waits when it has found that out.
func readToTheEnd(c *net.TCPConn, waits func()) (got answers, err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	rc, err := c.SyscallConn()
	if err != nil {
		return got, err
	}
	if err := c.SetReadDeadline(time.Now().Add(stagePatience)); err != nil {
		return got, err
	}
	buf := make([]byte, 64)
	other := error(nil)
	err = rc.Read(func(fd uintptr) (done bool) {
		for {
			n, err := syscall.Read(int(fd), buf) // non-blocking
			switch {
			case n > 0:
				got.data++
			case err == nil:
				got.end++
				return true
			case errors.Is(err, syscall.EINTR):
			case errors.Is(err, syscall.EAGAIN):
				if got.again++; got.again == 1 {
					waits()
				}
				return false // called again when there is something
			case errors.Is(err, syscall.ECONNRESET):
				got.reset++
				return true
			default:
				other = err
				return true
			}
		}
	})
	return got, errors.Join(err, other)
}
