package trace

import "finack/decode"

// broken replaces rules of evidence. Tests break one at a time with it, and see
// that the stories notice; nothing else sets it.
type broken struct {
	prove     func(t *Tracker, c *record, s Side, p *decode.Packet, again bool) // in place of the three steps
	state     func(old, next State) State                                       // in place of next
	closer    func(cl *closing) Closer                                          // in place of what the FINs acknowledge
	anyRST    bool                                                              // a RST counts wherever it is
	tupleOnly bool                                                              // a connection is its 4-tuple, whatever its ISNs
}
