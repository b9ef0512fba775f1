package tracetest

import (
	"fmt"
	"strings"
	"time"

	"finack/decode"
	"finack/trace"
)

// pattern is what Match takes.
type pattern []step

// step is one packet that is wanted.
type step struct {
	text   string // as written
	from   trace.Side
	kind   trace.Kind   // SegmentSeen, DatagramSeen or ICMPSeen
	any    bool         // any packet
	data   bool         // any segment with payload
	flags  decode.Flags // those of a segment
	more   bool         // and maybe others
	gap    bool         // others may come before it
	within time.Duration
	limit  bool // within holds
}

// parsePattern takes the language that Match documents.
func parsePattern(text string) (pattern, error) {
	words := strings.Fields(strings.NewReplacer("...", " … ", "…", " … ").Replace(text))
	var p pattern
	for len(words) > 0 {
		gap := len(p) == 0
		for len(words) > 0 && words[0] == "…" {
			gap, words = true, words[1:]
		}
		if len(words) == 0 {
			break
		}
		s, rest, err := parseStep(words)
		if err == nil && s.limit && len(p) == 0 {
			err = fmt.Errorf("%s: there is no step before it", s.text)
		}
		if err != nil {
			return nil, fmt.Errorf("pattern, step %d: %w", len(p)+1, err)
		}
		s.gap = gap
		p, words = append(p, s), rest
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("pattern %q: want a step, as client > server FIN,ACK", text)
	}
	return p, nil
}

// parseStep takes the words of one step and returns those after it.
func parseStep(words []string) (s step, rest []string, err error) {
	ends := strings.Join(words[:min(3, len(words))], " ")
	switch {
	case ends == "client > server":
	case ends == "server > client":
		s.from = trace.Server
	default:
		return s, nil, fmt.Errorf("want client > server or server > client, got %q", ends)
	}
	if len(words) < 4 || words[3] == "…" {
		return s, nil, fmt.Errorf("%s: want flags, *, data, udp or icmp after it", ends)
	}
	if !s.takeWhat(words[3]) {
		return s, nil, fmt.Errorf("%s: want flags as FIN,ACK or F. or FIN,*, or *, data, udp, icmp; got %q", ends, words[3])
	}
	n := 4
	if len(words) > 4 && words[4] == "within" {
		if len(words) > 5 {
			s.within, err = time.ParseDuration(words[5])
			n = 6
		}
		if n == 4 || err != nil || s.within <= 0 {
			return s, nil, fmt.Errorf("%s: want a duration after within, as 1s or 200ms", ends)
		}
		s.limit = true
	}
	s.text = strings.Join(words[:n], " ")
	return s, words[n:], nil
}

// takeWhat takes the word that says which packets of a side are meant.
func (s *step) takeWhat(word string) (ok bool) {
	switch word {
	case "*":
		s.any = true
		return true
	case "data":
		s.data = true
		return true
	case "udp":
		s.kind = trace.DatagramSeen
		return true
	case "icmp":
		s.kind = trace.ICMPSeen
		return true
	}
	if word, s.more = strings.CutSuffix(word, "*"); s.more {
		word = strings.TrimRight(word, ",+")
	}
	s.flags, ok = parseFlags(word)
	return ok
}

// parseFlags takes names with commas or, as a ladder has them, plus signs; or
// tcpdump's letters.
func parseFlags(word string) (f decode.Flags, ok bool) {
	const letters = "FSRP.UEWe" // in the order of the bits
	names := word != ""
	for _, name := range strings.FieldsFunc(word, func(r rune) bool { return r == ',' || r == '+' }) {
		bit := flagNamed(name)
		f, names = f|bit, names && bit != 0
	}
	if names {
		return f, f != 0
	}
	f = 0
	for _, c := range word {
		i := strings.IndexRune(letters, c)
		if i < 0 {
			return 0, false
		}
		f |= 1 << i
	}
	return f, f != 0
}

// flagNamed returns the flag of that name, 0 for none.
func flagNamed(name string) decode.Flags {
	for bit := decode.FIN; bit <= decode.AE; bit <<= 1 {
		if bit.String() == name {
			return bit
		}
	}
	return 0
}

// is reports whether a packet is what the step wants.
func (s *step) is(e *trace.Event) bool {
	from := e.From
	if e.Kind == trace.ICMPSeen { // it travels to the sender of what it quotes
		from = from.Peer()
	}
	switch {
	case from != s.from:
		return false
	case s.any:
		return true
	case e.Kind != s.kind:
		return false
	case s.data:
		return e.Len > 0
	case s.more:
		return e.Flags.Has(s.flags)
	default:
		return s.kind != trace.SegmentSeen || e.Flags == s.flags
	}
}

// matching says how far a pattern came.
type matching struct {
	pattern pattern
	steps   int // that found a packet
	last    int // the packet of the last of them: its place among the events
	late    int // one that came too late for the next step; −1: none
}

func (m matching) ok() bool { return m.steps == len(m.pattern) }

// match looks for the pattern: for each step in turn, which packets may be its
// own. Of several, the latest one before a packet is nearest to it in time.
func (p pattern) match(events []trace.Event) matching {
	m := matching{pattern: p, last: -1, late: -1}
	may := make([]bool, len(events)) // be the step's before this one
	for n := range p {
		next, first, late := p[n].after(n == 0, events, may)
		if first < 0 {
			m.late = late
			return m
		}
		m.steps, m.last, may = n+1, first, next
	}
	return m
}

// after returns which packets may be a step's, given which may be the one's
// before; the first of them, and the first that only came too late, −1 for none.
func (s *step) after(begin bool, events []trace.Event, before []bool) (may []bool, first, late int) {
	may, first, late = make([]bool, len(events)), -1, -1
	latest, previous := -1, -1 // packet that may be the step's before; packet
	for i := range events {
		e := &events[i]
		if !isPacket(e) {
			continue
		}
		from := latest
		if !s.gap {
			from = -1
			if previous >= 0 && before[previous] {
				from = previous
			}
		}
		if (begin || from >= 0) && s.is(e) {
			switch {
			case s.limit && e.Time.Sub(events[from].Time) > s.within:
				if late < 0 {
					late = i
				}
			default:
				may[i] = true
				if first < 0 {
					first = i
				}
			}
		}
		previous = i
		if before[i] {
			latest = i
		}
	}
	return may, first, late
}

// explain says which step found nothing, and which packet to look at.
func (p pattern) explain(events []trace.Event, m matching) (what string, mark int) {
	s := &p[m.steps]
	what = fmt.Sprintf("want step %d of %d, %q", m.steps+1, len(p), s.text)
	switch {
	case m.late >= 0:
		return what + ", got it too late", m.late
	case m.steps == 0:
		return what + ", got no such packet", -1
	case s.gap:
		return what + fmt.Sprintf(", got no such packet after step %d", m.steps), m.last
	default:
		return what + fmt.Sprintf(", got no such packet right after step %d", m.steps), m.last
	}
}
