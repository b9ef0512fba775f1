package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

const (
	synRetries     = "net.ipv4.tcp_syn_retries"
	linearTimeouts = "net.ipv4.tcp_syn_linear_timeouts"
)

// impatience is the TCP_USER_TIMEOUT of the client that waits less.
const impatience = 1300 * time.Millisecond

func unansweredSYN() *Scenario {
	return &Scenario{
		Name:  "unanswered-syn",
		Title: "SYNs that nobody answers: connect fails after minutes",
		Life: "A firewall that drops, a host that is off, an address that is wrong, a route that leads nowhere. " +
			"Unlike a refusal nothing comes back, and the program waits for all retries.",
		Cure: "Never connect without a time limit of your own: a timeout of the program, TCP_USER_TIMEOUT or TCP_SYNCNT. " +
			"To find where the SYNs end, capture at both ends, or traceroute -T. ss -tano state syn-sent shows " +
			"the retries so far.",
		wire: []privnet.Rule{{From: privnet.A, Flags: decode.SYN, Drop: true}},
		run: func(s *stage) error {
			if err := s.tellPatience(); err != nil {
				return err
			}
			return s.unanswered()
		},
	}
}

// tellPatience says how long connect(2) takes by default, and has it take the
// least that the sysctls allow: 3 s.
func (s *stage) tellPatience() error {
	retries, err := s.number(synRetries)
	if err != nil {
		return err
	}
	linear, err := s.number(linearTimeouts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // Linux 6.5 has brought it
		return err
	}
	s.say(fmt.Sprintf("By default (tcp_syn_retries %d, tcp_syn_linear_timeouts %d) connect(2) takes %v to fail. Here tcp_syn_retries is 1.",
		retries, linear, synPatience(retries, linear)))
	return s.setSysctl(s.client, synRetries, "1")
}

// number reads a sysctl of the client's host.
func (s *stage) number(name string) (int, error) {
	text, err := s.sysctl(s.client, name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// synPatience is how long connect(2) waits: so many times the initial timeout of
// 1 s, and then that, doubled at each retry up to 120 s.
func synPatience(retries, linear int) time.Duration {
	const initial, most = time.Second, 120 * time.Second
	sum := time.Duration(linear) * initial
	for i, timeout := 0, initial; i <= retries; i++ {
		sum += timeout
		timeout = min(2*timeout, most)
	}
	return sum
}

// unanswered has two clients wait until the kernel gives up.
func (s *stage) unanswered() error {
	patient, err := s.dialing(serverPort)
	if err != nil {
		return err
	}
	c, err := s.bound(s.client, socketPort(s.client.Addr, 0))
	if err != nil {
		return err
	}
	if err := setTCP(c, "TCP_USER_TIMEOUT", tcpUserTimeout, int(impatience.Milliseconds())); err != nil {
		return err
	}
	impatient := s.connecting(c, socketPort(s.server.Addr, serverPort))

	sent := states{trace.SynSent, trace.Unknown}
	if err := s.endsDiffer("connect is waiting", patient.pipe, sent, states{trace.SynSent, trace.Closed}); err != nil {
		return err
	}
	for _, a := range []*attempt{impatient, patient} {
		if err := s.returned(a, syscall.ETIMEDOUT); err != nil {
			return err
		}
	}
	s.say(fmt.Sprintf("connect(2) failed with ETIMEDOUT after %.2f s; with TCP_USER_TIMEOUT of %v after %.2f s.",
		patient.took.Seconds(), impatience, impatient.took.Seconds()))
	if impatient.took < almost(impatience) || patient.took < almost(synPatience(1, 0)) {
		return checkf("connect took %v and, with a limit of %v, %v", patient.took, impatience, impatient.took)
	}
	s.expectUnanswered("No answer", patient, func(n int) bool { return n >= 1 })
	s.expectUnanswered("", impatient, func(n int) bool { return n == 1 })
	return s.endsDiffer("connect has failed", patient.pipe, sent, states{trace.Closed, trace.Closed})
}

// expectUnanswered says that nothing but a client's SYNs was seen.
func (s *stage) expectUnanswered(title string, a *attempt, again func(int) bool) {
	s.expect(title, a.pipe, outcome{
		handshake: trace.IncompleteHandshake, teardown: trace.NoTeardown,
		states: states{trace.SynSent, trace.Unknown},
		also: func(v *trace.Conn) error {
			if n := v.SYNRetransmits; !again(n) || v.Packets != [2]uint64{1 + uint64(n), 0} {
				return checkf("%d SYNs again, packets %v", n, v.Packets)
			}
			return nil
		},
	})
}
