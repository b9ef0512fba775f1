package trace

import "finack/decode"

// broken switches off rules of evidence. Tests break one at a time with it, and
// see that the stories notice; nothing else sets it.
type broken struct {
	notReceived bool                        // what a segment acknowledges proves nothing of its sender
	onSight     bool                        // a SYN or FIN is received when it is seen
	notReached  bool                        // nothing is taken as said
	anyRST      bool                        // a RST counts wherever it is
	tupleOnly   bool                        // a connection is its 4-tuple, whatever its ISNs
	closer      func(cl *closing) Closer    // in place of what the FINs acknowledge
	state       func(old, next State) State // in place of next
}

// proveBroken does what prove does, but for what is switched off.
func (t *Tracker) proveBroken(c *record, s Side, p *decode.Packet, again bool) {
	b := t.cfg.broken
	f := p.Segment.Flags
	if f.Has(decode.ACK) && !b.notReceived {
		t.received(c, s, p)
	}
	t.sent(c, s, p, again)
	if b.onSight {
		me := &c.ends[s]
		if me.has(endSYN) && f.Has(decode.SYN) {
			me.flags |= endSYNRcvd
		}
		if me.has(endFIN) && f.Has(decode.FIN) {
			me.flags |= endFINRcvd
		}
		t.settle(c, s.Peer(), p)
	}
	if !b.notReached {
		t.reached(c, s, p)
	}
}
