package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"finack/internal/bench"
)

func newBench(s std) *cobra.Command {
	var cfg bench.Config
	var markdown bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this program, beside tcpdump and others, on captures that it makes",
		Long: `bench makes captures of known contents, reads them with this program and with
tcpdump, argus, tcptrace and tshark, whichever are installed, in turns, and
prints what each took: the least time of several rounds, the CPU time for a
packet, and the peak of its memory. How fast tcpdump copies the capture to
/dev/null, which follows no connection, is what the others are compared with.

It takes some minutes and 3 GB of disk (--quick: seconds and nothing to speak
of; --open, --peers: less). On a machine that does other things at the same time
the times are too long: compare ratios, and run more rounds.`,
		Example: `  finack bench
  finack bench --rounds 9 --markdown
  finack bench --quick --peers=false
  finack bench generate flood flood.pcap --conns 100000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("bench %s: no such benchmark: see finack bench --help", args[0])
			}
			if cfg.Rounds < 1 || cfg.Open < 1 {
				return usagef("bench: --rounds and --open must be at least 1")
			}
			var err error
			if cfg.Finack, err = os.Executable(); err != nil {
				return err
			}
			cfg.Progress = s.err
			report, err := bench.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			text := report.Append(nil)
			if markdown {
				text = report.AppendMarkdown(nil)
			}
			_, err = s.out.Write(text)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "make the captures in `DIR` and leave them there (else in a temporary one)")
	f.IntVar(&cfg.Rounds, "rounds", 5, "run each program `N` times (those that take long, once) and tell of the best")
	f.IntVar(&cfg.Open, "open", 4_000_000, "measure with up to `N` connections open at a time")
	f.BoolVar(&cfg.Quick, "quick", false, "small captures and one round: whether it works, not how fast")
	f.BoolVar(&cfg.Peers, "peers", true, "also run argus, tcptrace and tshark, which take long")
	f.BoolVar(&markdown, "markdown", false, "print the tables as in BENCHMARKS.md")
	cmd.AddCommand(newBenchGenerate(s), newBenchLive(s))
	return cmd
}

func newBenchGenerate(s std) *cobra.Command {
	var spec bench.Spec
	var names []string
	for _, k := range bench.Kinds() {
		names = append(names, string(k))
	}
	cmd := &cobra.Command{
		Use:   "generate KIND FILE",
		Short: "Make a capture: " + strings.Join(names, ", "),
		Long: `generate writes a pcap file (- for stdout) and says what it contains. The same
flags make the same bytes, always. KIND is one of

  short  many short connections, that open and close in all the ways there are
  bulk   few connections with many segments of full size
  open   connections that open, have one exchange and stay open, in random order
  flood  a SYN flood, and connections that go on through it and close after it`,
		Example: `  finack bench generate short short.pcap --conns 10000
  finack bench generate open - --conns 5000 | finack read - --summary`,
		ValidArgs: names,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("bench generate: needs a kind of capture and a file: see finack bench generate --help")
			}
			spec.Kind = bench.Kind(args[0])
			if err := spec.Check(); err != nil {
				return &statusError{exitUsage, err}
			}
			truth, err := generate(args[1], spec, s.out)
			if err != nil {
				return err
			}
			w := s.out
			if args[1] == "-" { // stdout is the capture's
				w = s.err
			}
			_, err = w.Write(truth.Append(nil))
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&spec.Conns, "conns", 0, "the number of connections; of a flood, of half-open ones\n(else short 500,000, bulk 8, open 1,000,000, flood 5,000,000)")
	f.IntVar(&spec.Concurrency, "concurrency", 0, "how many are open at a time; of a flood, the established ones\n(else 1,000; bulk and open: all)")
	f.IntVar(&spec.Segments, "segments", 0, "full segments in each connection of a bulk (else 50,000)")
	f.Uint64Var(&spec.Seed, "seed", 0, "another number makes another capture of the kind")
	f.BoolVar(&spec.Micros, "micros", false, "timestamps of microseconds, as tcpdump writes them")
	return cmd
}

// generate writes a capture to a file or, for "-", to stdout.
func generate(name string, spec bench.Spec, stdout io.Writer) (bench.Truth, error) {
	if name == "-" {
		return bench.Generate(stdout, spec)
	}
	f, err := os.Create(name)
	if err != nil {
		return bench.Truth{}, err
	}
	truth, err := bench.Generate(f, spec)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return truth, fmt.Errorf("write %s: %w", name, err)
	}
	return truth, nil
}
