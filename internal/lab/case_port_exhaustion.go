package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"finack/trace"
)

// exhaustPorts are the local ports of the client's host, as ip_local_port_range
// has them, and that with two more: of an odd number Linux may leave one out.
const (
	exhaustPorts = 10
	exhaustRange = "40001 40010"
	exhaustWider = "40001 40012"
	exhaustOne   = "40001 40001"
)

func portExhaustion() *Scenario {
	return &Scenario{
		Name:  "port-exhaustion",
		Title: "TIME_WAIT takes every local port: EADDRNOTAVAIL",
		Life: "A proxy, a load test or a job that opens a connection for each request to one address and port, and " +
			"closes it first. By default 28,232 local ports (32768 to 60999), each for 60 s: no more than 470 " +
			"connections a second, and then connect fails. To other destinations it goes on working.",
		Cure: "Keep connections open and use them again. Or let the server close first: its TIME_WAIT takes no port " +
			"from the client. Or a wider ip_local_port_range, more addresses at either end, tcp_tw_reuse=1. Not " +
			"SO_LINGER 0: the reset throws away what the peer has not read.",
		run: exhaust,
	}
}

func exhaust(s *stage) error {
	if err := s.unhurried(crowdRTO); err != nil {
		return err
	}
	if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", exhaustRange); err != nil {
		return err
	}
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	c, err := s.crowd(ln, exhaustPorts)
	if err != nil {
		return err
	}
	if err := closeAll(c.servers); err != nil {
		return err
	}
	if err := s.count("the server closes", counts{trace.CloseWait: exhaustPorts}, counts{trace.FinWait2: exhaustPorts}); err != nil {
		return err
	}
	if err := closeAll(c.clients); err != nil {
		return err
	}
	if err := s.count("then the clients", counts{}, counts{trace.TimeWait: exhaustPorts}); err != nil {
		return err
	}
	if c, err = s.crowd(ln, exhaustPorts); err != nil { // from the same ports again
		return err
	}
	if err := s.count("10 new, the same ports", counts{trace.Established: exhaustPorts}, counts{trace.Established: exhaustPorts}); err != nil {
		return err
	}
	if err := s.closedByClients(c); err != nil {
		return err
	}
	if err := s.exhausted(ln); err != nil {
		return err
	}
	return s.exhaustedOnLoopback()
}

// closedByClients closes connections, the clients first, and notes who has TIME_WAIT.
func (s *stage) closedByClients(c crowd) error {
	if err := closeAll(c.clients); err != nil {
		return err
	}
	if err := s.count("the clients close", counts{trace.FinWait2: exhaustPorts}, counts{trace.CloseWait: exhaustPorts}); err != nil {
		return err
	}
	if err := closeAll(c.servers); err != nil {
		return err
	}
	if err := s.count("then the server", counts{trace.TimeWait: exhaustPorts}, counts{}); err != nil {
		return err
	}
	s.expect("One of 10", pipeOf(c.clients[0]), outcome{
		handshake: trace.ThreeWay, teardown: trace.FourStep, closer: trace.ClosedByClient,
		states: states{trace.TimeWait, trace.Closed},
	})
	return nil
}

// exhausted connects where every local port has TIME_WAIT to the listener, and
// says what helps.
func (s *stage) exhausted(ln *net.TCPListener) error {
	reuse, err := s.sysctl(s.client, "net.ipv4.tcp_tw_reuse")
	if err != nil {
		return err
	}
	if err := s.noPort(ln.Addr()); err != nil {
		return err
	}
	s.say(fmt.Sprintf("10 of 10 local ports in TIME_WAIT, tcp_tw_reuse=%s: connect to port %d gives EADDRNOTAVAIL.", reuse, serverPort))
	other, err := s.listen(s.server, serverPort+1)
	if err != nil {
		return err
	}
	client, err := s.dial(s.client, other.Addr())
	if err != nil {
		return fmt.Errorf("connect to another port: %w", err)
	}
	s.say(fmt.Sprintf("To port %d it succeeds, from local port %d: also one of the ten.", serverPort+1, pipeOf(client).client.Port()))
	if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", exhaustWider); err != nil {
		return err
	}
	if client, err = s.dial(s.client, ln.Addr()); err != nil {
		return fmt.Errorf("connect with two more local ports: %w", err)
	}
	s.say(fmt.Sprintf("With two ports more in ip_local_port_range it succeeds, from %d.", pipeOf(client).client.Port()))
	if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", exhaustRange); err != nil {
		return err
	}
	if err := s.noPort(ln.Addr()); err != nil {
		return err
	}
	if err := s.allowReuse("1"); err != nil {
		return err
	}
	if client, err = s.dialReusing(ln.Addr()); err != nil {
		return err
	}
	left, err := s.inState(s.client, trace.TimeWait)
	if err != nil {
		return err
	}
	if len(left) != exhaustPorts-1 {
		return checkf("%d sockets in TIME_WAIT at the client, want %d", len(left), exhaustPorts-1)
	}
	s.say(fmt.Sprintf("With tcp_tw_reuse=1 it succeeds, too, from %d, whose TIME_WAIT this ends.", pipeOf(client).client.Port()))
	return nil
}

// noPort connects the client, who has no port left.
func (s *stage) noPort(addr net.Addr) error {
	if c, err := s.dial(s.client, addr); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return checkf("connect to %v without a local port: %v, %v; want EADDRNOTAVAIL", addr, c, err)
	}
	return nil
}

// exhaustedOnLoopback does the same with the one port that is left, within the
// client's host.
func (s *stage) exhaustedOnLoopback() error {
	if err := s.setSysctl(s.client, "net.ipv4.ip_local_port_range", exhaustOne); err != nil {
		return err
	}
	var ln *net.TCPListener
	err := s.client.Do(func() (err error) {
		ln, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: serverPort})
		return err
	})
	if err != nil {
		return err
	}
	s.atEnd(ln)
	client, err := s.dial(s.client, ln.Addr())
	if err != nil {
		return err
	}
	server, err := s.accept(ln)
	if err != nil {
		return err
	}
	if err := s.goodbye(client, server); err != nil {
		return err
	}
	if err := s.allowReuse("0"); err != nil {
		return err
	}
	if err := s.noPort(ln.Addr()); err != nil {
		return err
	}
	if err := s.allowReuse("2"); err != nil {
		return err
	}
	if _, err := s.dialReusing(ln.Addr()); err != nil {
		return err
	}
	s.say("On loopback, the one local port in TIME_WAIT: EADDRNOTAVAIL with tcp_tw_reuse=0; with 2 it succeeds.")
	return nil
}

// goodbye closes a connection within the client's host, and waits for TIME_WAIT.
func (s *stage) goodbye(client, server *net.TCPConn) error {
	p := pipeOf(client)
	if err := errors.Join(client.Close(), server.SetReadDeadline(time.Now().Add(stagePatience))); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, server); n > 0 || err != nil {
		return checkf("%d bytes before the end, %v", n, err)
	}
	if err := server.Close(); err != nil {
		return err
	}
	return await(s.ctx, stagePatience, func() error {
		k, err := s.socket(s.client, p)
		if err == nil && k.State != trace.TimeWait {
			err = checkf("%v is in %v, want TIME_WAIT", p, k.State)
		}
		return err
	})
}
