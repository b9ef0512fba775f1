package pcapfilter

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// TestTheMachinesAgree runs every expression's program in Match, in the machine
// of x/net/bpf, and in the one that these tests use for tcpdump's programs.
func TestTheMachinesAgree(t *testing.T) {
	frames := craftedFrames(t)
	for _, link := range []uint16{1, 101, 276} {
		frames := relinked(frames, link)
		for _, expr := range expressions {
			f, err := Parse(expr)
			if err != nil {
				continue
			}
			prog, err := f.ForLink(link)
			if err != nil {
				continue
			}
			vm := newVM(t, prog.Instructions())
			for _, fr := range frames {
				if got, want := prog.Match(fr.data, len(fr.data)), verdict(t, vm, fr.data); got != want {
					t.Errorf("link %d: %q is %v on %s, in the machine of x/net/bpf %v", link, expr, got, fr.name, want)
				}
				if got, want := prog.Match(fr.data, fr.wireLen()), execute(prog.Instructions(), fr.data, fr.wireLen()); got != want {
					t.Errorf("link %d: %q is %v on %s, in the tests' machine %v", link, expr, got, fr.name, want)
				}
			}
		}
	}
}

// TestMatchIsSafe runs programs that compile does not make.
func TestMatchIsSafe(t *testing.T) {
	accept := bpf.RawInstruction{Op: opRet, K: 1}
	for name, code := range map[string][]bpf.RawInstruction{
		"none":                  {},
		"no end":                {{Op: opLdImm, K: 1}},
		"unknown":               {{Op: 0xff}, accept},
		"a jump out of it":      {{Op: opJa, K: 1<<32 - 1}, accept},
		"a branch out of it":    {{Op: opJeq, Jt: 200}, accept},
		"beyond the frame":      {{Op: opLdW, K: 1<<32 - 1}, accept},
		"beyond, by X":          {{Op: opLdImm, K: 1<<32 - 1}, {Op: opTax}, {Op: opLdBInd, K: 1}, accept},
		"across the end":        {{Op: opLdW, K: 1}, accept},
		"divided by zero":       {{Op: opDiv, K: 0}, accept},
		"the rest of nothing":   {{Op: opMod | srcX}, accept},
		"header length outside": {{Op: opLdxMsh, K: 4}, accept},
	} {
		if (&Program{code}).Match([]byte{1, 2, 3, 4}, 4) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	frames := craftedFrames(t)
	for _, expr := range []string{"tcp port 80 and host 10.0.0.1", "less 64 or len % 7 = 1", "vlan and geneve and tcp", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420"} {
		prog := mustProgram(t, expr)
		if n := testing.AllocsPerRun(10, func() {
			for _, f := range frames {
				prog.Match(f.data, f.wireLen())
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", expr, n)
		}
	}
}

// TestListing prints every form of an instruction as tcpdump does: its own
// listing of its own program is the truth.
func TestListing(t *testing.T) {
	needTcpdump(t)
	for _, expr := range []string{
		"tcp port 80", "ip[8] / ip[1] = 0 or ip[2:2] % 7 > 3 or ip[8] * 3 - 1 >= ip[9]", "ip[0] | 1 ^ ip[2] << 2 = ip[ip[0] & 0xf] >> 1",
		"len > 100", "geneve and tcp", "1 << tcp[13] = 4 and tcp[13] & 2 != 0",
	} {
		theirs, err := tcpdumpProgram(t, 1, expr)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Listing(theirs), tcpdumpListing(t, 1, expr); got != want {
			t.Errorf("%q:\n got %s\nwant %s", expr, got, want)
		}
	}
	if got := Listing([]bpf.RawInstruction{{Op: 0xff}, {Op: opLdW, K: skfAdVLANTPID}}); got != "(000) unimp    0xff\n(001) ld       [vlan_tpid]\n" {
		t.Errorf("%q", got)
	}
}

func mustProgram(t testing.TB, expr string) *Program {
	t.Helper()
	f, err := Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := f.ForLink(1)
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

var typical = []struct{ name, expr string }{
	{"tcp", "tcp"},
	{"port", "tcp port 80"},
	{"host-port", "host 10.0.0.1 and (tcp port 80 or 443) and not net 192.168.7.0/24"},
	{"flags", "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"},
}

func BenchmarkCompile(b *testing.B) {
	for _, bb := range typical {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustProgram(b, bb.expr)
			}
		})
	}
}

// BenchmarkMatch runs a program over frames of TCP and UDP, IPv4 and IPv6; the
// machine of x/net/bpf beside it.
func BenchmarkMatch(b *testing.B) {
	var frames []frame
	for _, f := range craftedFrames(b) {
		if strings.HasPrefix(f.name, "tcp") || strings.HasPrefix(f.name, "udp") {
			frames = append(frames, f)
		}
	}
	frames = slices.DeleteFunc(frames, func(f frame) bool { return strings.HasSuffix(f.name, " cut") })
	for _, bb := range typical {
		prog := mustProgram(b, bb.expr)
		b.Run(bb.name+"/match", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f := &frames[i%len(frames)]
				prog.Match(f.data, len(f.data))
			}
		})
		vm := newVM(b, prog.Instructions())
		b.Run(bb.name+"/x-net", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := vm.Run(frames[i%len(frames)].data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
