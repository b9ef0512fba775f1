package lab

import (
	"syscall"

	"finack/trace"
)

func refused() *Scenario {
	return &Scenario{
		Name:  "refused",
		Title: "A SYN to a port where nobody listens: a reset",
		Life: "The service is down, or listens at another port, or only at 127.0.0.1 or in another namespace. The " +
			"host itself is up: its kernel answers. A firewall that rejects with tcp-reset looks the same.",
		Cure: "ss -ltn at the server: is the port there, and at which address? ECONNREFUSED comes after one round " +
			"trip and costs nothing, so try again with growing pauses. Silence instead of it is a firewall or a dead host.",
		run: func(s *stage) error {
			a, err := s.dialing(serverPort)
			if err != nil {
				return err
			}
			if err := s.returned(a, syscall.ECONNREFUSED); err != nil {
				return err
			}
			s.say("connect(2) failed with ECONNREFUSED.")
			s.expect("Refused", a.pipe, outcome{
				handshake: trace.Refused, teardown: trace.Reset,
				states: states{trace.Closed, trace.Closed},
				also: func(v *trace.Conn) error {
					if v.ResetBy != trace.Server || v.ResetAfter != trace.NoTeardown || v.RST != [2]uint32{0, 1} || v.SYN != [2]uint32{1, 0} {
						return checkf("reset by %v, after %v, resets %v, SYNs %v; want one by the server to one SYN", v.ResetBy, v.ResetAfter, v.RST, v.SYN)
					}
					return nil
				},
			})
			return s.ends("connect has failed", a.pipe, trace.Closed, trace.Closed)
		},
	}
}
