// Package notation writes packets as text and reads them back: a line for each,
// in packetdrill's notation, with names for the ends and numbers relative to
// the initial sequence number of each. The grammar is in
// internal/fixture/FORMAT.md.
package notation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"finack/decode"
)

// Line is one line of a segments section: a packet, or the passing of time.
type Line struct {
	N       int              // line number in the text, from 1
	Text    string           // as written, trimmed
	Time    decode.Timestamp // Start plus the line's time
	Advance bool             // nothing is sent; Frame is zero
	Frame   decode.Frame     // link type LinkRaw, checksums complete; owns its bytes
}

// Start is the time 0 of every text. It keeps the stamps away from zero.
const Start decode.Timestamp = 1_700_000_000 * 1e9

const (
	maxBytes = 128 << 20        // of all packets of a text
	maxTime  = 4e9 * int64(1e9) // how far from Start, in nanoseconds, either way
	maxName  = 64               // bytes of an end's name
	firstID  = 101              // the IP ID of the first frame
)

// end is an end of a connection: where it is and where its numbers begin.
type end struct {
	name string
	at   decode.Endpoint
	isn  uint32
}

// The ends that every text knows. The client's numbers soon wrap.
const (
	clientName, serverName = "client", "server"

	clientISN uint32 = 4_294_967_000
	serverISN uint32 = 5_000
	otherISN  uint32 = 1_000 // of an end that is declared without one
)

func clientAt() decode.Endpoint { return decode.Endpoint{Addr: [16]byte{10, 0, 0, 1}, Port: 40000} }
func serverAt() decode.Endpoint { return decode.Endpoint{Addr: [16]byte{10, 0, 0, 2}, Port: 80} }

// LineError says which line of a text is wrong.
type LineError struct {
	N   int // from 1
	Err error
}

// Error returns "line N: " and what is wrong.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.N, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// parser reads a text.
type parser struct {
	ends  map[string]*end
	now   decode.Timestamp
	count int // packets
	bytes int // of them
	lines []Line
}

// Parse reads a segments section: declarations of ends, packets, and the
// passing of time. An error says the line number, the word, and what was
// wanted in its place.
func Parse(text string) ([]Line, error) {
	p := parser{now: Start, ends: map[string]*end{
		clientName: {clientName, clientAt(), clientISN},
		serverName: {serverName, serverAt(), serverISN},
	}}
	n := 0
	for raw := range strings.Lines(text) {
		n++
		line, _, _ := strings.Cut(raw, "#")
		words := words{list: strings.Fields(line)}
		if len(words.list) == 0 {
			continue
		}
		if err := p.line(n, strings.TrimSpace(raw), &words); err != nil {
			return nil, &LineError{n, err}
		}
	}
	return p.lines, nil
}

func (p *parser) line(n int, text string, w *words) error {
	l := Line{N: n, Text: text}
	switch first := w.list[0]; {
	case first == "advance":
		w.next()
		if err := p.advance(w); err != nil {
			return err
		}
		l.Advance = true
	case strings.ContainsRune("+-0123456789", rune(first[0])):
		if err := p.time(w.next()); err != nil {
			return err
		}
		var pk packet
		if err := p.packet(w, &pk); err != nil {
			return err
		}
		if err := p.frame(&pk, &l.Frame); err != nil {
			return fmt.Errorf("%s: want %w", quoted(strings.Join(w.list, " ")), err)
		}
	default:
		return p.declare(w)
	}
	l.Time = p.now
	p.lines = append(p.lines, l)
	return nil
}

// frame builds the frame of a packet.
func (p *parser) frame(pk *packet, f *decode.Frame) error {
	p.count++
	if pk.ownID {
		pk.ip.ID = autoID(p.count)
	}
	b, err := pk.build(nil)
	if err != nil {
		return err
	}
	if p.bytes += len(b); p.bytes > maxBytes {
		return fmt.Errorf("packets of at most %d bytes together", maxBytes)
	}
	*f = decode.Frame{Time: p.now, Link: decode.LinkRaw, Checksums: decode.ChecksumsComplete, Wire: len(b), Data: b}
	return nil
}

// autoID is the IP ID of the n-th packet of a text, counted from 1: never zero,
// and after 65535 packets the same again.
func autoID(n int) uint16 { return uint16((firstID+n-2)%0xffff + 1) }

// advance takes a duration.
func (p *parser) advance(w *words) error {
	word, err := w.need("a duration, as 60s")
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 {
		return wrong(word, "a duration, as 60s")
	}
	if err := w.end("the end of the line"); err != nil {
		return err
	}
	return p.setTime(word, int64(p.now-Start), int64(d))
}

const wantTime = "a time in seconds, as 0.25 or +0.25, at most 9 digits behind the point and 4e9 s"

// time takes seconds, absolute or after the line before.
func (p *parser) time(word string) error {
	digits := strings.TrimLeft(word, "+-")
	if len(word)-len(digits) > 1 {
		return wrong(word, wantTime)
	}
	whole, part, point := strings.Cut(digits, ".")
	if len(whole) > 10 || len(part) > 9 || point && part == "" {
		return wrong(word, wantTime)
	}
	part += "000000000"[len(part):]
	sec, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return wrong(word, wantTime)
	}
	ns, err := strconv.ParseUint(part, 10, 63)
	if err != nil || sec > uint64(maxTime/1e9) {
		return wrong(word, wantTime)
	}
	d := int64(sec*1e9 + ns)
	switch word[0] {
	case '+':
		return p.setTime(word, int64(p.now-Start), d)
	case '-':
		return p.setTime(word, 0, -d)
	default:
		return p.setTime(word, 0, d)
	}
}

// setTime sets the time to d after base, both within bounds that do not overflow.
func (p *parser) setTime(word string, base, d int64) error {
	if d > maxTime-base || d < -maxTime {
		return wrong(word, wantTime)
	}
	p.now = Start + decode.Timestamp(base+d)
	return nil
}

// declare takes "NAME [ADDRESS[:PORT]] [isn N]".
func (p *parser) declare(w *words) error {
	name := w.next()
	if !validName(name) {
		return wrong(name, "a time, \"advance\", or the name of an end: a letter, then letters, digits, - or _")
	}
	e := end{name: name, isn: otherISN}
	if old := p.ends[name]; old != nil {
		e = *old
	}
	if p.ends[name] == nil || w.peek() != "isn" {
		word, err := w.need("an address, as 10.0.0.1:40000, or \"isn\"")
		if err != nil {
			return err
		}
		if e.at, err = parseEnd(word); err != nil {
			return err
		}
	}
	if w.peek() == "isn" {
		w.next()
		n, err := w.number(32, "an initial sequence number")
		if err != nil {
			return err
		}
		e.isn = uint32(n)
	}
	if err := w.end("\"isn\" or the end of the line"); err != nil {
		return err
	}
	p.ends[name] = &e
	return nil
}

func validName(s string) bool {
	for i, c := range s {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '_') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// parseEnd reads an address with its port, or without: its port is 0 then.
func parseEnd(word string) (decode.Endpoint, error) {
	ap, err := netip.ParseAddrPort(word)
	if err != nil {
		addr, err := netip.ParseAddr(word)
		if err != nil {
			return decode.Endpoint{}, wrong(word, "an address, as 10.0.0.1:40000 or [fd00::1]:40000")
		}
		ap = netip.AddrPortFrom(addr, 0)
	}
	if ap.Addr().Zone() != "" {
		return decode.Endpoint{}, wrong(word, "an address without a zone")
	}
	return decode.EndpointOf(ap), nil
}

// words are a line's, to be taken one after the other.
type words struct {
	list []string
	at   int
}

// peek returns the next word, "" at the end.
func (w *words) peek() string {
	if w.at == len(w.list) {
		return ""
	}
	return w.list[w.at]
}

// next takes the next word, "" at the end.
func (w *words) next() string {
	s := w.peek()
	if s != "" {
		w.at++
	}
	return s
}

// need takes the next word, which must be there.
func (w *words) need(want string) (string, error) {
	if w.peek() == "" {
		return "", errors.New("the end of the line: want " + want)
	}
	return w.next(), nil
}

// end reports what is left.
func (w *words) end(want string) error {
	if s := w.peek(); s != "" {
		return wrong(s, want)
	}
	return nil
}

// refuse says that something else was wanted, be it at the end of the line.
func (w *words) refuse(want string) error {
	word, err := w.need(want)
	if err != nil {
		return err
	}
	return wrong(word, want)
}

// number takes a decimal number of so many bits.
func (w *words) number(bits int, want string) (uint64, error) {
	want = fmt.Sprintf("%s, from 0 to %d", want, uint64(1)<<bits-1)
	word, err := w.need(want)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(word, 10, bits)
	if err != nil {
		return 0, wrong(word, want)
	}
	return n, nil
}

// wrong says which word is not what was wanted.
func wrong(word, want string) error { return fmt.Errorf("%s: want %s", quoted(word), want) }

// quoted returns a word for a message, not all of one that is too long.
func quoted(word string) string {
	const most = 60
	if len(word) > most {
		return strconv.Quote(word[:most]) + "…"
	}
	return strconv.Quote(word)
}
