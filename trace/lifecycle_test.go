package trace

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"finack/decode"
)

// births returns the lines that a capture of births and deaths has: all but
// the segments that only carry data, and datagrams.
func births(lines []storyLine) []storyLine {
	return slices.DeleteFunc(slices.Clone(lines), func(l storyLine) bool {
		p := &l.packet
		switch {
		case l.advance || p.Proto == decode.ProtoICMP || p.Proto == decode.ProtoICMPv6:
			return false
		case p.Proto != decode.ProtoTCP:
			return true
		default:
			return p.Len > 0 && !p.Segment.Flags.Any(decode.SYN|decode.FIN|decode.RST)
		}
	})
}

// outcome is what a capture of births and deaths must tell like the whole one.
type outcome struct {
	client, server decode.Endpoint
	role           Role
	handshake      HandshakeKind
	retries        int
	teardown       TeardownKind
	complete       bool
	closer         Closer
	resetBy        Side
	after          TeardownKind
	states         [2]State
	syn, fin, rst  [2]uint32
}

func outcomeOf(c *Conn) outcome {
	return outcome{
		c.Client, c.Server, c.Role, c.Handshake, c.SYNRetransmits, c.Teardown, c.Complete, c.Closer, c.ResetBy, c.ResetAfter, c.States, c.SYN, c.FIN, c.RST,
	}
}

func (o outcome) String() string {
	return fmt.Sprintf("%s %s; %s, by %s after %s, complete %t, closer %q; %s %s; syn %v fin %v rst %v",
		o.role, o.handshake, o.teardown, o.resetBy, o.after, o.complete, o.closer, o.states[Client], o.states[Server], o.syn, o.fin, o.rst)
}

// lessThan reports whether o says nothing that whole does not, only less: a
// state or a kind of teardown is unknown.
func (o outcome) lessThan(whole outcome) bool {
	for s := range o.states {
		if o.states[s] == Unknown {
			o.states[s] = whole.states[s]
		}
	}
	for _, k := range [...]struct{ kind, whole *TeardownKind }{{&o.teardown, &whole.teardown}, {&o.after, &whole.after}} {
		if *k.kind == UnknownTeardown && *k.whole != NoTeardown && *k.whole != Reset && *k.whole != SimultaneousClose {
			*k.kind = *k.whole
		}
	}
	if o.closer == ClosedUnknown && whole.closer != NoCloser {
		o.closer = whole.closer
	}
	return o == whole
}

// A comparison counts how births and deaths alone compare with the whole.
type comparison struct{ same, less, other int }

// compare plays lines whole and without data, and says what is told otherwise.
func (n *comparison) compare(t *testing.T, cfg Config, lines []storyLine) (wrong string) {
	t.Helper()
	_, whole := play(t, cfg, lines)
	cfg.Lifecycle = true
	_, part := play(t, cfg, births(lines))
	tcp := func(conns []*Conn) []*Conn {
		return slices.DeleteFunc(conns, func(c *Conn) bool { return c.Proto != decode.ProtoTCP })
	}
	whole, part = tcp(whole), tcp(part)
	if len(whole) != len(part) {
		n.other++
		return fmt.Sprintf("%d connections, not %d", len(part), len(whole))
	}
	for i, c := range part {
		if !c.DataUnseen || c.HasIdle || c.LastData != 0 || c.Gaps != [2]uint32{} {
			wrong += fmt.Sprintf("\ndata unseen %t, idle %t, last data %d, gaps %v", c.DataUnseen, c.HasIdle, c.LastData, c.Gaps)
		}
		for _, step := range c.Steps[:c.NumSteps] {
			if outcomeOf(c) == outcomeOf(whole[i]) && !slices.Contains(whole[i].Steps[:whole[i].NumSteps], step) {
				wrong += fmt.Sprintf("\nstep %+v is none of the whole capture's", step)
			}
		}
		switch got, want := outcomeOf(c), outcomeOf(whole[i]); {
		case got == want:
			n.same++
		case got.lessThan(want):
			n.less++
			wrong += fmt.Sprintf("\nless: %s\nthan  %s", got, want)
		default:
			n.other++
			wrong += fmt.Sprintf("\nother: %s\nthan   %s", got, want)
		}
	}
	return wrong
}

// What a capture without data tells otherwise than the whole one, and why.
func lifecycleExceptions() map[string]string {
	const (
		lastIsData = "the last segment, which proves more than those before it, only carries data"
		onData     = "the FIN's acknowledgment comes with data: what is told is less"
		alive      = "only data shows that an end joined midstream has not closed before: what is told is less"
		notThere   = "the capture has lost a segment that is no data: its number looks like data"
		inWindow   = "a RST in the window beyond what was seen: it may follow data, so it counts"
	)
	return map[string]string{
		"one-direction-server":          lastIsData,
		"syn-ack-crosses-its-ack":       lastIsData,
		"half-close-answered-with-data": onData,
		"midstream-one-direction":       onData,
		"midstream-alive":               alive,
		"fin-not-captured":              notThere,
		"fin-not-captured-crossing":     notThere,
		"fin-not-captured-then-acks":    notThere,
		"fin-with-data-crosses-its-ack": notThere,
		"reset-after-challenge":         inWindow,
		"reset-in-window":               inWindow,
		"reset-in-window-crossing-fins": inWindow,
		"reset-in-window-half-closed":   inWindow,
		"reset-in-window-in-handshake":  inWindow,
		"reset-out-of-place":            inWindow,
		"rst-out-of-window":             inWindow,
	}
}

// Births and deaths alone lead to the same outcome, in all stories and
// recordings but those of the table, and every entry of that is needed.
func TestLifecycleTellsTheSame(t *testing.T) {
	var n comparison
	exceptions := lifecycleExceptions()
	for _, dir := range []string{"testdata", "../internal/lab/testdata"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
		if err != nil || len(paths) < 30 {
			t.Fatalf("%s: %d stories, %v", dir, len(paths), err)
		}
		for _, path := range paths {
			s, err := readStory(path)
			if err != nil {
				t.Fatal(err)
			}
			wrong := n.compare(t, s.config, s.lines)
			if (wrong != "") != (exceptions[s.name] != "") {
				t.Errorf("%s, in the table for %q: %s", s.name, exceptions[s.name], wrong)
			}
			delete(exceptions, s.name)
		}
	}
	for name := range exceptions {
		t.Errorf("%s is in the table and there is no such story", name)
	}
	t.Logf("%+v", n)
}

// Of simulated connections, too, and where the capture has lost nothing itself
// they never tell something else, at most less.
func TestLifecycleOfSimulations(t *testing.T) {
	var complete, lossy comparison
	for seed := range uint64(4000) {
		s := simOf(seed)
		n := &complete
		if s.lossBefore > 0 {
			n = &lossy
		}
		before := n.other
		if wrong := n.compare(t, simConfig, s.lines()); n == &complete && n.other > before {
			t.Errorf("seed %d: %s\n%s", seed, wrong, s)
		}
	}
	t.Logf("complete captures %+v, others %+v", complete, lossy)
	if complete.same < 49*complete.less || lossy.same < 15*lossy.less || lossy.same < 100*lossy.other {
		t.Errorf("too much is told otherwise: complete captures %+v, others %+v", complete, lossy)
	}
}

// What holds for every tracker holds without data, too, whatever it is fed.
func TestLifecycleHoldsForRandomTraffic(t *testing.T) {
	streams := seedStreams()
	seed := uint64(11)
	for range 300 {
		streams = append(streams, randomStream(&seed))
	}
	for i, stream := range streams {
		lines := fuzzLines(stream)
		for _, lines := range [][]storyLine{lines, births(lines)} {
			_, conns := play(t, Config{All: true, Lifecycle: true}, lines)
			for _, c := range conns {
				if c.Proto == decode.ProtoTCP && max(c.Bytes[Client], c.Bytes[Server]) > uint64(len(lines))<<31 {
					t.Errorf("stream %d: %d bytes of %d segments", i, c.Bytes, len(lines))
				}
			}
		}
	}
}

// Bytes are counted beyond what a sequence number can say.
func TestLifecycleCountsBeyondSequenceNumbers(t *testing.T) {
	tr := New(&Config{Lifecycle: true})
	client, server := decode.Endpoint{Port: 40000}, decode.Endpoint{Port: 80}
	const step = 1 << 30
	isn := uint32(1<<32 - 100)
	send := func(from, to decode.Endpoint, flags decode.Flags, seq, ack uint32) {
		p := decode.Packet{Time: storyStart, Proto: decode.ProtoTCP, Src: from, Dst: to}
		p.Segment = decode.Segment{Flags: flags, Seq: seq, Ack: ack, Window: 65535}
		tr.Observe(&p, nil)
	}
	send(client, server, decode.SYN, isn, 0)
	send(server, client, decode.SYN|decode.ACK, 0, isn+1)
	send(client, server, decode.ACK, isn+1, 1)
	at := isn + 1
	for range 50 {
		at += step
		send(server, client, decode.ACK, 1, at)
	}
	send(client, server, decode.FIN|decode.ACK, at+10, 1)
	send(server, client, decode.FIN|decode.ACK, 1, at+11)
	for c := range tr.Conns() {
		if want := [2]uint64{50*step + 10, 0}; c.Bytes != want || c.Teardown != ThreeStep {
			t.Errorf("%d bytes, %s; want %d, three-step", c.Bytes, c.Teardown, want)
		}
	}
	if tr.Stats().Conns != 1 {
		t.Errorf("%d connections", tr.Stats().Conns)
	}
}
