package trace

import "finack/decode"

// A Mutant is a tracker with one rule of evidence switched off, or with two
// states confused.
type Mutant struct {
	Name   string
	broken broken
}

// Break makes a tracker of cfg the mutant.
func (m *Mutant) Break(cfg *Config) { cfg.broken = &m.broken }

// Mutants returns all of them.
func Mutants() []Mutant {
	confuse := func(is, said State) broken {
		return broken{state: func(_, next State) State {
			if next == is {
				return said
			}
			return next
		}}
	}
	return []Mutant{
		{"an acknowledgment proves nothing of its sender", broken{notReceived: true}},
		{"a SYN or FIN is received on sight", broken{onSight: true}},
		{"nothing is taken as said", broken{notReached: true}},
		{"nothing is taken back", broken{state: func(old, next State) State {
			if !old.follows(next) {
				return old
			}
			return next
		}}},
		{"a RST counts wherever it is", broken{anyRST: true}},
		{"who is seen to close first closed first", broken{closer: firstFIN}},
		{"a 4-tuple is one connection", broken{tupleOnly: true}},
		{"CLOSING is called LAST_ACK", confuse(Closing, LastAck)},
		{"LAST_ACK is called CLOSING", confuse(LastAck, Closing)},
		{"FIN_WAIT_2 is called CLOSING", confuse(FinWait2, Closing)},
		{"FIN_WAIT_2 is called FIN_WAIT_1", confuse(FinWait2, FinWait1)},
	}
}

// firstFIN names the side whose FIN comes first in the capture.
func firstFIN(cl *closing) Closer {
	for _, step := range cl.steps[:cl.n] {
		if step.Flags.Has(decode.FIN) {
			return ClosedByClient + Closer(step.From)
		}
	}
	return NoCloser
}
