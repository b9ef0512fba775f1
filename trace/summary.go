package trace

import "finack/decode"

// Summary counts the outcomes of many connections and flows.
type Summary struct {
	Conns       int // TCP connections
	Handshakes  [Refused + 1]int
	Teardowns   [Reset + 1]int
	Closers     [ClosedUnknown + 1]int // of those with a FIN
	States      [2][NumStates]int      // where each side stood at the end
	Flows       int                    // UDP flows
	Answered    int                    // flows with a response
	Unreachable int                    // flows that an ICMP error ended
	Evicted     int                    // accounts given early, see Config.MaxConns
}

// Add counts one account.
func (s *Summary) Add(c *Conn) {
	if c.Evicted {
		s.Evicted++
	}
	if c.Proto != decode.ProtoTCP {
		s.Flows++
		if c.Packets[Server] > 0 {
			s.Answered++
		}
		if c.Unreachable {
			s.Unreachable++
		}
		return
	}
	s.Conns++
	s.Handshakes[c.Handshake]++
	s.Teardowns[c.Teardown]++
	if c.Closer != NoCloser {
		s.Closers[c.Closer]++
	}
	for side, st := range c.States {
		s.States[side][st]++
	}
}
