package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"finack/decode"
	"finack/internal/notation"
)

// A story is a txtar file of testdata: prose that says what happens and which
// rule leaves which states, then the segments in packetdrill's notation, the
// events that they cause, and the verdict. FINACK_UPDATE=1 rewrites the events;
// the verdict is written by hand and never rewritten.
// The format is in internal/fixture/FORMAT.md.
type story struct {
	name    string
	archive *txtar.Archive
	config  Config
	lines   []storyLine
}

type storyLine struct {
	advance bool
	time    decode.Timestamp
	packet  decode.Packet
}

// storyStart keeps the stamps away from zero.
const storyStart = notation.Start

func readStory(path string) (*story, error) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	return newStory(path, a)
}

func newStory(path string, a *txtar.Archive) (*story, error) {
	var err error
	s := &story{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), archive: a, config: Config{All: true}}
	for _, f := range a.Files {
		switch f.Name {
		case "config":
			err = s.parseConfig(string(f.Data))
		case "segments":
			err = s.parseSegments(string(f.Data))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
	}
	return s, nil
}

func (s *story) file(name string) string {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func (s *story) parseConfig(text string) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var err error
		switch f[0] {
		case "max-conns":
			s.config.MaxConns, err = strconv.Atoi(f[1])
		case "time-wait":
			s.config.TimeWait, err = time.ParseDuration(f[1])
		case "udp-timeout":
			s.config.UDPTimeout, err = time.ParseDuration(f[1])
		case "brief":
			s.config.All = false
		default:
			err = fmt.Errorf("unknown setting %q", f[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *story) parseSegments(text string) error {
	lines, err := notation.Parse(text)
	if err != nil {
		return err
	}
	var dec decode.Decoder
	for i := range lines {
		l := storyLine{advance: lines[i].Advance, time: lines[i].Time}
		if !l.advance {
			if err := dec.Decode(&lines[i].Frame, &l.packet); err != nil {
				return fmt.Errorf("line %d: %w", lines[i].N, err)
			}
		}
		s.lines = append(s.lines, l)
	}
	return nil
}

// play runs a story and returns every event and the account of every connection
// and flow, those that are still open included, in order of appearance.
func play(tb testing.TB, cfg Config, lines []storyLine) ([]Event, []*Conn) {
	tb.Helper()
	t := New(&cfg)
	t.seed = [2]uint64{0x6c62272e07bb0142, 0x62b821756295c58d} // the same way every time, for the fuzzer
	var events []Event
	check := newChecker(tb)
	for i := range lines {
		n := len(events)
		if lines[i].advance {
			events = t.Advance(lines[i].time, events)
		} else {
			events = t.Observe(&lines[i].packet, events)
		}
		check.events(events[n:], t)
	}
	return events, check.end(t)
}

// readStories reads all of them; a test that finds none is broken.
func readStories(t *testing.T) []*story {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 40 {
		t.Fatalf("stories: %d, %v", len(paths), err)
	}
	var all []*story
	for _, path := range paths {
		s, err := readStory(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// told returns the events and the verdict that a story leads to.
func (s *story) told(tb testing.TB) (events, verdict []byte) {
	tb.Helper()
	list, conns := play(tb, s.config, s.lines)
	for i := range list {
		events = appendEvent(events, &list[i])
	}
	for _, c := range conns {
		verdict = appendVerdict(verdict, c)
	}
	return events, verdict
}

func TestStories(t *testing.T) {
	update := os.Getenv("FINACK_UPDATE") == "1"
	for _, s := range readStories(t) {
		t.Run(s.name, func(t *testing.T) {
			text, verdict := s.told(t)
			if diff := gocmp.Diff(s.file("verdict"), string(verdict)); diff != "" {
				t.Errorf("verdict (-by hand +tracker):\n%s\nevents:\n%s", diff, text)
			}
			if diff := gocmp.Diff(s.file("events"), string(text)); diff != "" {
				if !update {
					t.Fatalf("events (-golden +tracker; FINACK_UPDATE=1 rewrites):\n%s", diff)
				}
				rewrite(t, filepath.Join("testdata", s.name+".txtar"), s.archive, text)
			}
		})
	}
}

// The example in the description of the format is one.
func TestFormatExample(t *testing.T) {
	const path = "../internal/fixture/FORMAT.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "```txtar\n")
	block, _, closed := strings.Cut(block, "```")
	if !ok || !closed {
		t.Fatalf("%s has no example", path)
	}
	s, err := newStory(path, txtar.Parse([]byte(block)))
	if err != nil {
		t.Fatal(err)
	}
	events, verdict := s.told(t)
	if diff := gocmp.Diff(s.file("events")+s.file("verdict"), string(events)+string(verdict)); diff != "" {
		t.Error(diff)
	}
}

// rewrite puts events between a story's segments and its verdict.
func rewrite(t *testing.T, path string, a *txtar.Archive, events []byte) {
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "events" })
	if i < 0 {
		i = 1 + slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "segments" })
		a.Files = slices.Insert(a.Files, i, txtar.File{Name: "events"})
	}
	a.Files[i].Data = events
	if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// appendEvent adds one line for an event.
func appendEvent(dst []byte, e *Event) []byte {
	b := bytes.NewBuffer(dst)
	fmt.Fprintf(b, "%s", seconds(e.Time))
	if e.Conn != 0 {
		fmt.Fprintf(b, " #%d", e.Conn)
	}
	switch e.Kind {
	case SegmentSeen, AnomalySeen:
		if e.Kind == AnomalySeen {
			fmt.Fprintf(b, " anomaly %s", e.Anomaly)
		}
		fmt.Fprintf(b, " %s %s %d(%d)", e.From, flagLetters(e.Flags), e.Seq-e.SeqBase, e.Len)
		if e.Flags.Has(decode.ACK) {
			fmt.Fprintf(b, " ack %d", e.Ack-e.AckBase)
		}
		if e.First {
			fmt.Fprint(b, " first")
		}
		for i, name := range [...]string{"retransmission", "duplicate", "out-of-order", "gap", "keep-alive", "reused", "zero-window-probe", "challenge-ack"} {
			if e.Note&(1<<i) != 0 {
				fmt.Fprint(b, " ", name)
			}
		}
	case StateChanged:
		fmt.Fprintf(b, "   %s %s → %s", e.Side, e.Old, e.New)
		if e.Revised {
			fmt.Fprint(b, " revised")
		}
		if e.Timer {
			fmt.Fprint(b, " timer")
		}
	case DatagramSeen:
		fmt.Fprintf(b, " %s %s (%d)", e.From, strings.ToLower(e.Proto.String()), e.Len)
	case ICMPSeen:
		fmt.Fprintf(b, " %s icmp %d/%d", e.From, e.ICMPType, e.ICMPCode)
		if e.Anomaly != NoAnomaly {
			fmt.Fprintf(b, " anomaly %s", e.Anomaly)
		}
	case ConnClosed:
		fmt.Fprintf(b, " closed %s %s", e.States[Client], e.States[Server])
	case ConnReleased:
		fmt.Fprint(b, " released")
	}
	fmt.Fprintln(b)
	return b.Bytes()
}

// appendVerdict adds the line of an account.
func appendVerdict(dst []byte, c *Conn) []byte {
	b := bytes.NewBuffer(dst)
	fmt.Fprintf(b, "#%d %s > %s ", c.ID, c.Client, c.Server)
	if c.Proto == decode.ProtoTCP {
		fmt.Fprintf(b, "role %s; %s; %s", c.Role, c.Handshake, c.Teardown)
		if c.WasReset {
			fmt.Fprintf(b, " by %s after %s", c.ResetBy, c.ResetAfter)
		}
		if c.Closer != NoCloser {
			fmt.Fprintf(b, ", closer %s", c.Closer)
		}
		if c.Teardown != NoTeardown {
			fmt.Fprint(b, ", ", map[bool]string{true: "complete", false: "not complete"}[c.Complete])
		}
		fmt.Fprintf(b, "; %s %s", c.States[Client], c.States[Server])
	} else {
		fmt.Fprint(b, strings.ToLower(c.Proto.String()))
		if c.Unreachable {
			fmt.Fprintf(b, " unreachable %d", c.ICMPCode)
		}
	}
	fmt.Fprintf(b, "; packets %d+%d; bytes %d+%d", c.Packets[0], c.Packets[1], c.Bytes[0], c.Bytes[1])
	if c.Proto == decode.ProtoTCP {
		fmt.Fprintf(b, "; retransmits %d+%d; completeness %d", c.Retransmits[0], c.Retransmits[1], c.Completeness)
	}
	if c.SYNRetransmits > 0 {
		fmt.Fprintf(b, "; syn retransmits %d", c.SYNRetransmits)
	}
	for _, x := range []struct {
		name string
		n    [2]uint32
	}{
		{"out of order", c.OutOfOrder},
		{"gaps", c.Gaps},
		{"duplicates", c.Duplicates},
		{"keep-alives", c.KeepAlives},
		{"zero-window probes", c.ZeroWindowProbes},
		{"challenge acks", c.ChallengeACKs},
	} {
		if x.n != [2]uint32{} {
			fmt.Fprintf(b, "; %s %d+%d", x.name, x.n[0], x.n[1])
		}
	}
	if c.HasIdle {
		fmt.Fprintf(b, "; idle %v", c.Idle)
	}
	if h := c.HalfClose; h.Seen {
		fmt.Fprintf(b, "; half-closed by %s %v, %d bytes", h.By, h.Duration, h.Bytes)
	}
	if c.Evicted {
		fmt.Fprint(b, "; evicted")
	}
	fmt.Fprintln(b)
	return b.Bytes()
}

func seconds(t decode.Timestamp) string {
	return strconv.FormatFloat(time.Duration(t-storyStart).Seconds(), 'f', 6, 64)
}

func flagLetters(f decode.Flags) string {
	s := ""
	for _, x := range []struct {
		f decode.Flags
		c string
	}{{decode.SYN, "S"}, {decode.FIN, "F"}, {decode.RST, "R"}, {decode.PSH, "P"}, {decode.URG, "U"}, {decode.ECE, "E"}, {decode.CWR, "W"}, {decode.AE, "e"}, {decode.ACK, "."}} {
		if f.Has(x.f) {
			s += x.c
		}
	}
	return cmp.Or(s, "-")
}

// A checker holds what every tracker must hold, whatever it is fed.
type checker struct {
	tb    testing.TB
	known map[uint64]*known
	done  []*Conn
}

type known struct {
	client decode.Endpoint
	states [2]State
	moved  [2]bool
	over   bool
	closed bool
}

func newChecker(tb testing.TB) *checker { return &checker{tb: tb, known: map[uint64]*known{}} }

func (c *checker) events(events []Event, t *Tracker) {
	c.tb.Helper()
	for i := range events {
		e := &events[i]
		if e.Conn == 0 {
			continue
		}
		k := c.known[e.Conn]
		if k == nil {
			k = &known{client: e.Client}
			c.known[e.Conn] = k
		}
		if k.client != e.Client {
			// The SYN came late: what was taken for the client is the server.
			k.client = e.Client
			k.states[0], k.states[1] = k.states[1], k.states[0]
			k.moved[0], k.moved[1] = k.moved[1], k.moved[0]
		}
		if k.over {
			c.tb.Fatalf("#%d: an event after its release: %s", e.Conn, appendEvent(nil, e))
		}
		switch e.Kind {
		case StateChanged:
			if k.moved[e.Side] && k.states[e.Side] != e.Old {
				c.tb.Fatalf("#%d: %s was %s, not as in %s", e.Conn, e.Side, k.states[e.Side], appendEvent(nil, e))
			}
			if e.Old == e.New || !e.Revised && !arrow(e.Old, e.New) {
				c.tb.Fatalf("#%d: no arrow of RFC 9293: %s", e.Conn, appendEvent(nil, e))
			}
			k.states[e.Side], k.moved[e.Side] = e.New, true
		case ConnClosed:
			if k.closed {
				c.tb.Fatalf("#%d: closed twice", e.Conn)
			}
			k.closed = true
			c.account(e.Verdict)
		case ConnReleased:
			k.over = true
			c.account(e.Verdict)
			c.done = append(c.done, e.Verdict)
		}
	}
	if s := t.Stats(); s.Open > t.cfg.MaxConns || s.Open != t.n {
		c.tb.Fatalf("open: %+v of %d", s, t.cfg.MaxConns)
	}
	if open, closing := used(&t.slab), used(&t.closing); open != t.n || closing > t.n {
		c.tb.Fatalf("%d connections hold %d records and %d of the closing", t.n, open, closing)
	}
}

// used returns how many of a slab's elements are not free.
func used[T any](s *slab[T]) int { return int(s.used) - len(s.free) }

// arrows are those of RFC 9293's state diagram: figure 5 with its notes, and
// section 3.10.7.4 for a FIN in SYN-RECEIVED.
var arrows = map[State][]State{
	Closed:      {Listen, SynSent},
	Listen:      {SynReceived, SynSent},
	SynSent:     {SynReceived, Established},
	SynReceived: {Established, FinWait1, CloseWait, Listen},
	Established: {FinWait1, CloseWait},
	FinWait1:    {FinWait2, Closing, TimeWait},
	FinWait2:    {TimeWait},
	CloseWait:   {LastAck},
	Closing:     {TimeWait},
}

// arrow reports whether there is an arrow between two states. A reset leads to
// CLOSED from anywhere, and what is UNKNOWN may be anything.
func arrow(from, to State) bool {
	return from == Unknown || to == Unknown || to == Closed || slices.Contains(arrows[from], to)
}

func (c *checker) account(v *Conn) {
	c.tb.Helper()
	if h := &v.HalfClose; h.Duration < 0 || h.Bytes > v.Bytes[h.By.Peer()] || v.Idle < 0 || v.HalfOpen < 0 {
		c.tb.Fatalf("impossible: %+v, %+v", *h, v)
	}
	if v.RTT < 0 || v.Duration() < 0 || v.TeardownDuration() < 0 || v.WaitLeft < 0 || v.NumSteps > maxSteps || v.SYNRetransmits < 0 {
		c.tb.Fatalf("impossible: %+v", v)
	}
	if (v.Closer == NoCloser) != (v.Proto != decode.ProtoTCP || !hasFIN(v)) {
		c.tb.Fatalf("closer %q with steps %+v", v.Closer, v.Steps[:v.NumSteps])
	}
	if v.NumSteps > 0 && v.FINSeen == [2]bool{} && !v.WasReset {
		c.tb.Fatalf("steps of no teardown: %+v", v)
	}
	for s := range v.TimeIn {
		for _, d := range v.TimeIn[s] {
			if d < 0 {
				c.tb.Fatalf("negative time in a state: %+v", v)
			}
		}
	}
}

func hasFIN(v *Conn) bool {
	return slices.ContainsFunc(v.Steps[:v.NumSteps], func(s Step) bool { return s.Flags.Has(decode.FIN) && !s.Flags.Any(decode.RST) })
}

// end returns all accounts, having found that each connection has exactly one.
func (c *checker) end(t *Tracker) []*Conn {
	c.tb.Helper()
	for v := range t.Conns() {
		c.account(v)
		if k := c.known[v.ID]; k != nil {
			if k.over {
				c.tb.Fatalf("#%d is open and released", v.ID)
			}
			k.over = true
		}
		c.done = append(c.done, v)
	}
	slices.SortFunc(c.done, func(a, b *Conn) int { return cmp.Compare(a.ID, b.ID) })
	for i, v := range c.done {
		if v.ID != uint64(i+1) {
			c.tb.Fatalf("account %d of %d is #%d", i+1, len(c.done), v.ID)
		}
	}
	if uint64(len(c.done)) != t.stats.Conns+t.stats.Flows {
		c.tb.Fatalf("%d accounts, %+v", len(c.done), t.stats)
	}
	return c.done
}
