package lab

import (
	"finack/decode"
	"finack/internal/kernel"
	"finack/trace"
)

func challengeACK() *Scenario {
	return &Scenario{
		Name:  "challenge-ack",
		Title: "A SYN inside a connection draws a challenge ACK, no more",
		Life: "A client's machine that has restarted picks the port of a connection that its server still has; or somebody " +
			"sends SYNs in its name. The server does not believe it: it answers with the ACK that it owes the old connection " +
			"(RFC 5961 section 4). A client that knows no such connection answers that with RST, and its next SYN is taken; " +
			"here it does know it, and both go on. A socket sends one such ACK in net.ipv4.tcp_invalid_ratelimit, 500 ms; here in 60 s.",
		Cure: "connect that takes 1 s after a restart, with SYN, ACK, RST and SYN again in the capture, is this: keep-alive at " +
			"the server finds such connections before. A SYN that draws no challenge ACK may be past the limit: see " +
			"TcpExtTCPACKSkippedChallenge of nstat(8).",
		run: synInConnection,
	}
}

// synTries is how often the SYN is sent.
const synTries = 3

func synInConnection(s *stage) error {
	if err := s.setSysctl(s.server, "net.ipv4.tcp_invalid_ratelimit", "60000"); err != nil {
		return err
	}
	client, server, err := s.pair()
	if err != nil {
		return err
	}
	p := pipeOf(client)
	if err := s.ends("connected", p, trace.Established, trace.Established); err != nil {
		return err
	}
	before, err := s.counters(s.server)
	if err != nil {
		return err
	}
	isn := s.sndNxt(p)[trace.Client] + 100_000
	for range synTries {
		if err := s.inject(s.client, p, decode.SYN, isn, 0); err != nil {
			return err
		}
	}
	if err := s.grown(s.server, before, kernel.Counters{
		"TcpExtTCPSYNChallenge": synTries, "TcpExtTCPChallengeACK": 1, "TcpExtTCPACKSkippedChallenge": synTries - 1,
	}); err != nil {
		return err
	}
	s.say("the server's kernel: TcpExtTCPSYNChallenge +3, TcpExtTCPChallengeACK +1, TcpExtTCPACKSkippedChallenge +2")
	if err := s.ends("three SYNs later", p, trace.Established, trace.Established); err != nil {
		return err
	}
	if err := s.pass(client, server, "hello"); err != nil {
		return err
	}
	if err := s.pass(server, client, "hello"); err != nil {
		return err
	}
	s.say("data still goes through, both ways")
	s.expect("SYN", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown, states: states{trace.Established, trace.Established},
		also: func(v *trace.Conn) error {
			if v.ChallengeACKs != [2]uint32{0, 1} || v.SYN != [2]uint32{1 + synTries, 1} {
				return checkf("challenge ACKs %v, SYNs %v; want [0 1] and [4 1]", v.ChallengeACKs, v.SYN)
			}
			return nil
		},
	})
	return s.awaitSeen(p, "the server's data", 1, data(trace.Server))
}
