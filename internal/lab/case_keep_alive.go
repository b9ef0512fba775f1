package lab

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// keepAliveLost is a rule for each frame that the wire loses at most in one direction.
const keepAliveLost = 8

func keepAlive() *Scenario {
	// Each rule drops the nth frame of those that the rules before it have left:
	// together they drop that and what follows.
	dead := func(from privnet.Side, nth uint64) []privnet.Rule {
		return slices.Repeat([]privnet.Rule{{From: from, Nth: nth, Drop: true}}, keepAliveLost)
	}
	return &Scenario{
		Name:  "keep-alive",
		Title: "Keep-alive finds a peer that is gone: ETIMEDOUT",
		Life: "A host loses power, a NAT or firewall forgets an idle connection, a cable is pulled: no FIN, no RST. Without " +
			"keep-alive a side that only reads waits for ever. By default Linux asks after two hours (tcp_keepalive_time), " +
			"and only where the program has set SO_KEEPALIVE.",
		Cure: "Set it at both ends, shorter than the idle time of what is between (often 350 s or less): TCP_KEEPIDLE, " +
			"TCP_KEEPINTVL, TCP_KEEPCNT; in Go net.KeepAliveConfig (every socket of package net has 15 s, 15 s and 9 unless told otherwise). Unacknowledged data is another matter: " +
			"TCP_USER_TIMEOUT. ETIMEDOUT from recv: close the socket.",
		// The client sends SYN, ACK and a probe, the server SYN-ACK and an answer.
		wire: append(dead(privnet.A, 4), dead(privnet.B, 3)...),
		run:  outlived,
	}
}

func outlived(s *stage) error {
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	if err := server.SetKeepAlive(false); err != nil { // Go sets it everywhere
		return err
	}
	before, err := s.counters(s.client)
	if err != nil {
		return err
	}
	const unanswered = 2
	err = client.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: unanswered})
	if err != nil {
		return err
	}
	if err := s.ends("nothing to say", p, trace.Established, trace.Established); err != nil {
		return err
	}
	// The kernel counts keep-alive in seconds: this takes four.
	if err := client.SetReadDeadline(time.Now().Add(stagePatience)); err != nil {
		return err
	}
	begun := time.Now()
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
		return checkf("read: %d, %v; want ETIMEDOUT", n, err)
	}
	s.say(fmt.Sprintf("Client: recv gave ETIMEDOUT after %.1f s: %d probes in a row had no answer.", time.Since(begun).Seconds(), unanswered))
	after, err := s.counters(s.client)
	if err != nil {
		return err
	}
	probes, aborted := after["TcpExtTCPKeepAlive"]-before["TcpExtTCPKeepAlive"], after["TcpExtTCPAbortOnTimeout"]-before["TcpExtTCPAbortOnTimeout"]
	if probes != 1+unanswered || aborted != 1 {
		return checkf("%d probes by the kernel's counters, %d connections given up; want %d and 1", probes, aborted, 1+unanswered)
	}
	s.say(fmt.Sprintf("Client: TcpExtTCPKeepAlive counts %d probes, TcpExtTCPAbortOnTimeout %d connection.", probes, aborted))
	s.expect("Idle", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.Reset,
		states: states{trace.Closed, trace.Closed},
		also: func(v *trace.Conn) error {
			if want := [2]uint32{1 + unanswered, 0}; v.KeepAlives != want || v.ResetBy != trace.Client || v.ResetAfter != trace.NoTeardown {
				return checkf("keep-alives %v, want %v; reset by %v, want the client", v.KeepAlives, want, v.ResetBy)
			}
			return nil
		},
	})
	if err := s.endsDiffer("the client gives up", p, states{trace.Closed, trace.Closed}, states{trace.Closed, trace.Established}); err != nil {
		return err
	}
	left, err := s.socket(s.server, p.reverse())
	if err == nil && left.Timer != kernel.TimerNone {
		err = checkf("the server's socket has the timer %v, want none", left.Timer)
	}
	s.say("Server: in ESTABLISHED, and no timer runs: it has no SO_KEEPALIVE. The client's RST, which the packets show, was lost on the wire, too.")
	return err
}
