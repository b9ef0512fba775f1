package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/craft"
)

// tally is what tshark's stream and our account of a connection must agree on;
// 0 is the end with the lower address and port.
type tally struct {
	packets, bytes, syn, fin, rst [2]uint64
	completeness                  uint64
}

// tshark returns the tally of every stream of a capture file by its two ends, in
// order of appearance.
func tshark(t *testing.T, file string) map[[2]string][]tally {
	t.Helper()
	args := []string{"-2", "-n", "-r", file, "-Y", "tcp", "-T", "fields"}
	for _, f := range []string{"ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.stream", "tcp.len", "tcp.flags", "tcp.completeness"} {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(t.Context(), "tshark", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, stderr.Bytes())
	}
	streams := map[[2]string][]tally{}
	place := map[string]int{} // of a stream among those of its ends
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		src, dst := f[0]+":"+f[1], f[2]+":"+f[3]
		ends, side := [2]string{src, dst}, 0
		if dst < src {
			ends, side = [2]string{dst, src}, 1
		}
		at, ok := place[f[4]]
		if !ok {
			at = len(streams[ends])
			place[f[4]] = at
			streams[ends] = append(streams[ends], tally{})
		}
		s := &streams[ends][at]
		number := func(i int) uint64 {
			n, err := strconv.ParseUint(f[i], 0, 64)
			if err != nil {
				t.Fatalf("tshark: %q: %v", line, err)
			}
			return n
		}
		flags := decode.Flags(number(6))
		s.packets[side]++
		s.bytes[side] += number(5)
		for n, flag := range map[*uint64]decode.Flags{&s.syn[side]: decode.SYN, &s.fin[side]: decode.FIN, &s.rst[side]: decode.RST} {
			if flags.Has(flag) {
				*n++
			}
		}
		s.completeness = number(7)
	}
	return streams
}

// accounts returns the same of our own.
func accounts(t *testing.T, file string) map[[2]string][]tally {
	t.Helper()
	src, err := capture.OpenFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var (
		f      decode.Frame
		p      decode.Packet
		dec    decode.Decoder
		tr     = New(&Config{TimeWait: time.Hour})
		events []Event
		all    []*Conn
	)
	for {
		err := src.ReadFrame(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = dec.Decode(&f, &p)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tr.Observe(&p, events[:0]) {
			if e.Kind == ConnReleased {
				all = append(all, e.Verdict)
			}
		}
	}
	all = slices.AppendSeq(all, tr.Conns())
	slices.SortFunc(all, func(a, b *Conn) int { return int(a.ID) - int(b.ID) })
	byEnds := map[[2]string][]tally{}
	for _, c := range all {
		a := tally{packets: c.Packets, bytes: c.Bytes, completeness: uint64(c.Completeness)}
		for s := range 2 {
			a.syn[s], a.fin[s], a.rst[s] = uint64(c.SYN[s]), uint64(c.FIN[s]), uint64(c.RST[s])
		}
		ends := [2]string{c.Client.String(), c.Server.String()}
		if ends[1] < ends[0] {
			ends[0], ends[1] = ends[1], ends[0]
			for _, n := range []*[2]uint64{&a.packets, &a.bytes, &a.syn, &a.fin, &a.rst} {
				swap(n)
			}
		}
		byEnds[ends] = append(byEnds[ends], a)
	}
	return byEnds
}

// write makes a capture file of packets.
func write(t *testing.T, lines []storyLine) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "test.pcap")
	w, err := capture.CreateFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		f := decode.Frame{Time: lines[i].time, Link: decode.LinkRaw, Data: packetBytes(t, &lines[i].packet)}
		f.Wire = len(f.Data)
		if err := w.WriteFrame(&f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// packetBytes is a TCP packet as it lies on the wire, its payload zeros.
func packetBytes(t *testing.T, p *decode.Packet) []byte {
	t.Helper()
	seg := &p.Segment
	ip := craft.IP{Src: p.Src.AddrPort().Addr(), Dst: p.Dst.AddrPort().Addr(), ID: uint16(p.IPID)}
	tcp := craft.TCP{SrcPort: p.Src.Port, DstPort: p.Dst.Port, Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, Window: seg.Window}
	if seg.Opts&decode.OptMSS != 0 {
		tcp.Options = append(tcp.Options, craft.MSS(seg.MSS))
	}
	if seg.Opts&decode.OptWScale != 0 {
		tcp.Options = append(tcp.Options, craft.Option{Kind: craft.NoOperation}, craft.WScale(seg.WScale))
	}
	b, err := craft.AppendTCP(nil, &ip, &tcp, make([]byte, p.Len))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Connections, packets, bytes, flags and completeness are counted as tshark
// counts them, in whole captures and in cut, doubled and interleaved ones.
func TestTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		if os.Getenv("FINACK_NEED_NETNS") == "1" {
			t.Fatal("tshark is not installed (FINACK_NEED_NETNS=1)")
		}
		t.Skip("tshark is not installed")
	}
	var file []storyLine
	names := map[string]string{}
	rnd := rand.New(rand.NewPCG(1, 8))
	add := func(name string, lines []storyLine) {
		// Each has addresses of its own.
		n := len(names) + 1
		for _, l := range lines {
			if l.advance || l.packet.Proto != decode.ProtoTCP {
				continue
			}
			for _, e := range []*decode.Endpoint{&l.packet.Src, &l.packet.Dst} {
				e.Addr[1], e.Addr[2] = byte(n>>8), byte(n)
				names[fmt.Sprintf("10.%d.%d.", n>>8, n&0xff)] = name
			}
			file = append(file, l)
		}
	}
	for _, s := range readStories(t) {
		if s.config.MaxConns == 0 {
			add(s.name, s.lines)
		}
	}
	for seed := range uint64(300) {
		lines := simOf(seed).lines()
		if len(lines) == 0 {
			continue
		}
		at := rnd.IntN(len(lines))
		add(fmt.Sprintf("seed %d", seed), lines)
		add(fmt.Sprintf("seed %d from %d", seed, at), lines[at:])
		add(fmt.Sprintf("seed %d to %d", seed, at), lines[:at+1])
		add(fmt.Sprintf("seed %d with copies", seed), copied(rnd, lines, 0.3, duplicateWithin))
		add(fmt.Sprintf("seed %d interleaved", seed), interleaved(rnd, lines, true))
		add(fmt.Sprintf("seed %d with losses", seed), slices.DeleteFunc(slices.Clone(lines), func(storyLine) bool { return rnd.IntN(5) == 0 }))
	}
	for seed := range uint64(300) {
		// The same ends again, a second later.
		a, b := simOf(2*seed), simOf(2*seed+1)
		if b.opening == simUnanswered { // to us, a SYN that nobody answers ends no connection that may be alive
			continue
		}
		lines := a.lines()
		for _, l := range b.lines() {
			if len(a.tap) > 0 {
				l.time += decode.Timestamp(a.tap[len(a.tap)-1].at + time.Second)
			}
			lines = append(lines, l)
		}
		add(fmt.Sprintf("seeds %d and %d", 2*seed, 2*seed+1), lines)
	}
	name := write(t, file)
	want, got := tshark(t, name), accounts(t, name)
	for ends := range want {
		i := strings.LastIndex(ends[0][:strings.Index(ends[0], ":")], ".")
		name := names[ends[0][:i+1]]
		if name == "syn-in-connection" { // any SYN with another ISN is a new stream to tshark, also one that gets a challenge ACK
			continue
		}
		if s := want[ends]; len(s) == 1 && s[0].packets[0]+s[0].packets[1] == 1 && s[0].completeness == 0 {
			continue // tshark gives nothing to a stream of one packet without SYN, whose flags we do tell
		}
		if !slices.Equal(want[ends], got[ends]) {
			t.Errorf("%s: %v\n tshark %+v\n finack %+v", name, ends, want[ends], got[ends])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d pairs of ends, tshark has %d", len(got), len(want))
	}
}
