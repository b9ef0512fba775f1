package trace

import "finack/decode"

// Summary counts the outcomes of many connections and flows.
type Summary struct {
	Conns      int // TCP connections
	Handshakes [Refused + 1]int
	Teardowns  [Reset + 1]int
	Closers    [ClosedUnknown + 1]int // of those with a FIN
	Flows      int                    // UDP flows
}

// Add counts one account.
func (s *Summary) Add(c *Conn) {
	if c.Proto != decode.ProtoTCP {
		s.Flows++
		return
	}
	s.Conns++
	s.Handshakes[c.Handshake]++
	s.Teardowns[c.Teardown]++
	if c.Closer != NoCloser {
		s.Closers[c.Closer]++
	}
}
