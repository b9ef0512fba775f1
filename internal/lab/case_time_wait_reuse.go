package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"finack/decode"
	"finack/trace"
)

func timeWaitReuse() *Scenario {
	return &Scenario{
		Name:  "time-wait-reuse",
		Title: "The same ports again while TIME_WAIT lasts",
		Life: "A client with few local ports, or a fixed one, comes back within 60 s. TIME_WAIT at the server does not " +
			"stop it: a SYN with a later timestamp, or an ISN beyond the old connection's numbers, is a new " +
			"connection. TIME_WAIT at the client is its own kernel's choice: tcp_tw_reuse.",
		Cure: "None is needed at a server. At a client tcp_tw_reuse=1 lets connect(2) take a port whose TIME_WAIT is " +
			"older than tcp_tw_reuse_delay (1 s), if both ends use timestamps. It does nothing for a listener. " +
			"tcp_tw_recycle broke clients behind NAT and is gone since Linux 4.12.",
		run: reuse,
	}
}

func reuse(s *stage) error {
	if err := s.unhurried(crowdRTO); err != nil {
		return err
	}
	if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", "40007 40007"); err != nil {
		return err
	}
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	p, old, err := s.closedVisit(ln, "First", trace.Server)
	if err != nil {
		return err
	}
	again, fresh, err := s.closedVisit(ln, "Again", trace.Client)
	if err != nil {
		return err
	}
	if again != p {
		return checkf("the second connection is %v, want %v", again, p)
	}
	if err := s.sayISNs(old, fresh); err != nil {
		return err
	}
	return s.reuseAtClient(ln, p)
}

// closedVisit connects the client, and has one side close first. It returns what
// the capture shows.
func (s *stage) closedVisit(ln *net.TCPListener, title string, first trace.Side) (p pipe, events []trace.Event, err error) {
	client, server, err := s.meet(ln)
	if err != nil {
		return p, nil, err
	}
	p = pipeOf(client)
	closing, half, end := []*net.TCPConn{client, server}, states{trace.FinWait2, trace.CloseWait}, states{trace.TimeWait, trace.Closed}
	closer := trace.ClosedByClient
	if first == trace.Server {
		closing[0], closing[1], half[0], half[1], end[0], end[1] = server, client, half[1], half[0], end[1], end[0]
		closer = trace.ClosedByServer
	}
	if err := closing[0].Close(); err != nil {
		return p, nil, err
	}
	if err := s.ends("the "+first.String()+" closes", p, half[0], half[1]); err != nil {
		return p, nil, err
	}
	if err := closing[1].Close(); err != nil {
		return p, nil, err
	}
	s.expect(title, p, outcome{handshake: trace.ThreeWay, teardown: trace.FourStep, closer: closer, states: end})
	if err := s.ends("the "+first.Peer().String()+", too", p, end[0], end[1]); err != nil {
		return p, nil, err
	}
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	return p, append(events, s.events(p)...), nil
}

// sayISNs compares the numbers of a connection with those of the one before it
// on the same ports, whose TIME_WAIT was the server's.
func (s *stage) sayISNs(old, fresh []trace.Event) error {
	var beyond [2]uint32
	for _, side := range []trace.Side{trace.Client, trace.Server} {
		beyond[side] = numberOf(fresh, side, decode.SYN) - (numberOf(old, side, decode.FIN) + 1)
	}
	// What follows the old numbers within half of the number space is new.
	if int32(beyond[trace.Client]) <= 0 || beyond[trace.Server] != twSpacing {
		return checkf("the new ISNs lie %d and %d beyond the old numbers; want a positive number and %d", int32(beyond[trace.Client]), beyond[trace.Server], twSpacing)
	}
	gap := fresh[0].Time.Sub(old[len(old)-1].Time)
	s.say(fmt.Sprintf("The SYN came %.1f ms after the last ACK, while the server had TIME_WAIT, and was accepted at once.", gap.Seconds()*1000))
	s.say(fmt.Sprintf("The client's new ISN lies %d beyond its old numbers: Linux lets the ISN of the same ports grow with "+
		"time. The server's lies %d beyond: Linux chooses it so when a SYN ends TIME_WAIT.", beyond[trace.Client], beyond[trace.Server]))
	return nil
}

// twSpacing is how far Linux has the ISN of an end that was in TIME_WAIT lie
// beyond its old numbers: more than a window that is not scaled.
const twSpacing = 65535 + 2

// numberOf returns the sequence number of a side's first segment with a flag.
func numberOf(events []trace.Event, from trace.Side, flag decode.Flags) uint32 {
	for i := range events {
		if e := &events[i]; e.Kind == trace.SegmentSeen && e.From == from && e.Flags.Has(flag) {
			return e.Seq
		}
	}
	return 0
}

// reuseAtClient connects again while TIME_WAIT is the client's.
func (s *stage) reuseAtClient(ln *net.TCPListener, p pipe) error {
	value, err := s.sysctl(s.client, "net.ipv4.tcp_tw_reuse")
	if err != nil {
		return err
	}
	if c, err := s.dial(s.client, ln.Addr()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return checkf("connect from a port in TIME_WAIT with tcp_tw_reuse=%s: %v, %v; want EADDRNOTAVAIL", value, c, err)
	}
	s.say(fmt.Sprintf("TIME_WAIT at the client, tcp_tw_reuse=%s: connect gives EADDRNOTAVAIL.", value))
	if err := s.allowReuse("1"); err != nil {
		return err
	}
	begun := time.Now()
	client, err := s.dialReusing(ln.Addr())
	if err != nil {
		return err
	}
	if got := pipeOf(client); got != p {
		return checkf("the third connection is %v, want %v", got, p)
	}
	s.say(fmt.Sprintf("With tcp_tw_reuse=1 the same connect succeeds, from the same port, after %.1f ms.", time.Since(begun).Seconds()*1000))
	if err := s.ends("the client is back", p, trace.Established, trace.Established); err != nil {
		return err
	}
	s.expect("Reused", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown,
		states: states{trace.Established, trace.Established},
	})
	return nil
}

// allowReuse says whether the client's host uses ports in TIME_WAIT again, and
// has it do so as soon as can be.
func (s *stage) allowReuse(value string) error {
	if err := s.setSysctl(s.client, "net.ipv4.tcp_tw_reuse", value); err != nil {
		return err
	}
	err := s.setSysctl(s.client, "net.ipv4.tcp_tw_reuse_delay", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil // before Linux 6.14: it is 1 s
	}
	return err
}

// dialReusing connects the client as soon as a port in TIME_WAIT is old enough.
func (s *stage) dialReusing(addr net.Addr) (c *net.TCPConn, err error) {
	err = await(s.ctx, stagePatience, func() (err error) {
		if c, err = s.dial(s.client, addr); errors.Is(err, syscall.EADDRNOTAVAIL) {
			return checkf("connect where tcp_tw_reuse allows it: %v", err)
		}
		return err
	})
	return c, err
}
