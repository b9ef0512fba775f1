package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"finack/internal/bench"
)

func newBench(s std) *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this program beside others on the same captures",
		Long: `bench makes captures, the same bytes every time, and measures how long finack
and those of tcpdump, tshark, tcptrace and argus that are installed take to read
them: in turn, in one run, the best of some rounds. It prints the tables of
BENCHMARKS.md, which says what they mean. It takes some minutes, 2 GB below
--dir, and two cores that have nothing else to do.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringVar(&b.dir, "dir", "", "make the captures in `DIR`, and leave them there (default: a temporary one)")
	f.IntVar(&b.rounds, "rounds", 5, "run each program `N` times, the slow ones once")
	f.BoolVar(&b.quick, "quick", false, "small captures and one round: to see that it works")
	f.BoolVar(&b.peers, "peers", true, "run other programs than finack and tcpdump, too")
	cmd.AddCommand(newBenchGenerate(), newBenchLive(s))
	return cmd
}

func newBenchGenerate() *cobra.Command {
	var spec bench.Spec
	cmd := &cobra.Command{
		Use:   "generate KIND FILE",
		Short: "Make a capture: short, bulk, open or flood",
		Long: `generate makes a pcap file. The kinds are
  short  many short connections, a thousand a second, that open and close in all ways
  bulk   few connections with many full segments
  open   connections that all stay open, with their packets in random order
  flood  SYNs that nobody answers, beside connections that go on`,
		Example: "  finack bench generate short short.pcap --conns 10000",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			if spec.Kind = bench.Kind(args[0]); !slices.Contains(bench.Kinds(), spec.Kind) {
				return usagef("bench generate %s: no such kind of capture: %v are", args[0], bench.Kinds())
			}
			_, err := generateFile(args[1], spec)
			return err
		},
	}
	cmd.Flags().IntVar(&spec.Conns, "conns", 0, "make `N` connections (default: a kind's own)")
	cmd.Flags().Uint64Var(&spec.Seed, "seed", 0, "another `NUMBER` makes another capture")
	return cmd
}

// generateFile makes a capture file, which is all there or not at all.
func generateFile(name string, spec bench.Spec) (bench.Truth, error) {
	f, err := os.Create(name)
	if err != nil {
		return bench.Truth{}, err
	}
	truth, err := bench.Generate(f, spec)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(name)
	}
	return truth, err
}

// benchmark is what finack bench was asked for.
type benchmark struct {
	dir          string
	temporary    bool // dir: captures are removed as soon as they are done with
	rounds       int
	quick, peers bool
}

// contest is a capture and the programs that read it.
type contest struct {
	spec     bench.Spec
	about    string
	programs []bench.Program
}

// quickConns are the connections of --quick.
var quickConns = map[bench.Kind]int{bench.Short: 2000, bench.Bulk: 1, bench.Open: 2000, bench.Flood: 5000}

func (b *benchmark) run(ctx context.Context, s std) error {
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "finack-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir, b.temporary = dir, true
	}
	if b.quick {
		b.rounds = 1
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s\n", bench.Machine())
	for _, p := range b.contests(self)[0].programs {
		if v := p.VersionOf(ctx); v != "" {
			fmt.Fprintf(s.out, "%s: %s\n", p.Argv[0], v)
		}
	}
	for _, t := range b.contests(self) {
		if ctx.Err() != nil {
			break
		}
		if err := b.hold(ctx, s.out, &t); err != nil {
			return err
		}
	}
	return nil
}

// hold makes a capture, measures, and prints.
func (b *benchmark) hold(ctx context.Context, w io.Writer, t *contest) error {
	if b.quick {
		t.spec.Conns = quickConns[t.spec.Kind]
	}
	file := filepath.Join(b.dir, string(t.spec.Kind)+".pcap")
	truth, err := generateFile(file, t.spec)
	if err != nil {
		return err
	}
	results := bench.Measure(ctx, file, t.programs, b.rounds)
	fmt.Fprintf(w, "\n%s: %s; %d packets, %d connections\n\n", t.spec.Kind, t.about, truth.Packets, truth.Conns)
	rows := [][]string{{"program", "Mpackets/s", "to tcpdump", "CPU ns/packet", "peak memory"}}
	yardstick := results[0]
	for i, r := range results {
		row := []string{t.programs[i].Name}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(r.Err, exec.ErrNotFound):
			row = append(row, "not installed", "", "", "")
		case r.Err != nil:
			row = append(row, r.Err.Error(), "", "", "")
		default:
			n := float64(truth.Packets)
			ratio := ""
			if yardstick.Err == nil {
				ratio = fmt.Sprintf("%.2f", yardstick.Wall.Seconds()/r.Wall.Seconds())
			}
			row = append(row, fmt.Sprintf("%.2f", n/r.Wall.Seconds()/1e6), ratio,
				fmt.Sprintf("%.0f", float64(r.CPU.Nanoseconds())/n), fmt.Sprintf("%d MB", r.MaxRSS/1e6))
		}
		rows = append(rows, row)
	}
	if b.temporary {
		err = os.Remove(file)
	}
	_, werr := w.Write(appendMarkdown(nil, rows))
	return cmp.Or(err, werr)
}

// contests returns what is measured; tcpdump, the yardstick, comes first in each.
func (b *benchmark) contests(self string) []contest {
	finack := func(name string, cores int, args ...string) bench.Program {
		argv := append([]string{self, "read", "FILE"}, args...)
		return bench.Program{Name: "finack read " + strings.TrimSpace(strings.Join(args, " ")+name), Argv: argv, Cores: cores}
	}
	tcpdump := bench.Program{
		Name: "tcpdump -w /dev/null", Cores: 1,
		Argv: []string{"tcpdump", "-r", "FILE", "-w", "/dev/null"}, Version: []string{"tcpdump", "--version"},
	}
	short := []bench.Program{
		tcpdump,
		finack("", 1, "--summary"),
		finack(" (2 cores)", 2, "--summary"),
		finack(" (2 cores)", 2, "--json", "--only", "connection,summary"),
		finack(" (2 cores)", 2, "--json"),
		finack("(2 cores)", 2),
	}
	if b.peers {
		short = append(short,
			bench.Program{
				Name: "argus", Cores: 1,
				Argv: []string{"argus", "-r", "FILE", "-w", "/dev/null"}, Version: []string{"argus", "-V"},
			},
			bench.Program{
				Name: "tcptrace", Cores: 1, Slow: true,
				Argv: []string{"tcptrace", "-n", "FILE"}, Version: []string{"tcptrace", "-version"},
			},
			bench.Program{
				Name: "tshark -z conv,tcp", Cores: 1, Slow: true,
				Argv: []string{"tshark", "-q", "-z", "conv,tcp", "-r", "FILE"}, Version: []string{"tshark", "--version"},
			},
		)
	}
	summary := []bench.Program{tcpdump, finack("", 1, "--summary"), finack(" (2 cores)", 2, "--summary")}
	return []contest{
		{bench.Spec{Kind: bench.Short}, "many short connections", short},
		{bench.Spec{Kind: bench.Bulk}, "few connections with many full segments", summary},
		{bench.Spec{Kind: bench.Open}, "all of them open at once", summary},
		{bench.Spec{Kind: bench.Flood}, "SYNs that nobody answers", summary},
	}
}

// appendMarkdown appends a table with columns of even width, the first row its head.
func appendMarkdown(dst []byte, rows [][]string) []byte {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string, pad string) {
		for i := range width {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			fill := strings.Repeat(pad, width[i]-utf8.RuneCountInString(cell))
			if i > 0 && pad == " " { // numbers to the right
				cell, fill = fill, cell
			}
			dst = append(append(append(append(dst, "| "...), cell...), fill...), ' ')
		}
		dst = append(dst, "|\n"...)
	}
	line(rows[0], " ")
	line(make([]string, len(width)), "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	return dst
}
