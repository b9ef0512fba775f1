package lab

import (
	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

func simultaneousOpen() *Scenario {
	return &Scenario{
		Name:  "simultaneous-open",
		Title: "Both ends connect to each other: crossing SYNs",
		Life: "Two peers behind NAT that each connect from a known port, at the same moment: TCP hole punching. " +
			"Nobody listens and nobody accepts (RFC 9293, 3.5).",
		Cure: "Nothing is wrong. It needs bind(2) to a known port at both ends, before connect(2), and SYNs that " +
			"really cross: one that comes too early is refused. Stateful firewalls may not know it.",
		wire: []privnet.Rule{
			// Held until both ends have sent theirs.
			{Flags: decode.SYN, Hold: true},
			{Flags: decode.SYN | decode.ACK, Hold: true},
		},
		run: func(s *stage) error {
			a, b := socketPort(s.client.Addr, serverPort), socketPort(s.server.Addr, serverPort)
			one, err := s.bound(s.client, a)
			if err != nil {
				return err
			}
			other, err := s.bound(s.server, b)
			if err != nil {
				return err
			}
			client, server := s.connecting(one, b), s.connecting(other, a)
			p := client.pipe
			for rule, m := range []struct {
				what           string
				wire, inKernel states
			}{
				{"both have sent a SYN", states{trace.SynSent, trace.Unknown}, states{trace.SynSent, trace.SynSent}},
				{"each has the other's", states{trace.SynReceived, trace.SynSent}, states{trace.SynReceived, trace.SynReceived}},
			} {
				if err := s.endsDiffer(m.what, p, m.wire, m.inKernel); err != nil {
					return err
				}
				if err := s.lift(rule); err != nil {
					return err
				}
			}
			for _, a := range []*attempt{client, server} {
				if err := s.returned(a, 0); err != nil {
					return err
				}
			}
			s.say("connect(2) returned without an error at both ends.")
			s.expect("Crossing", p, outcome{
				handshake: trace.SimultaneousOpen, teardown: trace.NoTeardown,
				states: states{trace.Established, trace.Established},
				also: func(v *trace.Conn) error {
					if v.SYN[trace.Client] < 2 || v.SYN[trace.Server] < 2 || v.RST != [2]uint32{} {
						return checkf("SYNs %v, resets %v; want a SYN and a SYN-ACK of each", v.SYN, v.RST)
					}
					return nil
				},
			})
			return s.ends("both are connected", p, trace.Established, trace.Established)
		},
	}
}
