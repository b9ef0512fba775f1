package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/pcapfilter"
	"finack/internal/pipeline"
	"finack/trace"
)

func newRead(s std) *cobra.Command {
	var o output
	var named []string
	var record recording
	var shards int
	cmd := &cobra.Command{
		Use:   "read FILE… [FILTER]",
		Short: "Trace the connections in capture files",
		Long: `read traces the connections in pcap and pcapng files, plain or compressed with
gzip or zstd; - is standard input. The first arguments that exist, are - or end
in .pcap, .pcapng or .cap (also with .gz or .zst) are files, or patterns of files
where none has that name; the rest is a filter in tcpdump's language; -- ends the
files. Several files are one capture. Ctrl-C ends the reading, and what was read
is told.

--where chooses connections as the filter chooses packets: see finack help where.
--lifecycle leaves data out, as finack watch does: see finack watch --help.

--fixture writes the packets as text, with their events and the verdict, for
finack check. What that text cannot say is refused by name, with a filter that
leaves it out.`,
		Example: `  finack read trace.pcapng
  finack read trace.pcap 'tcp port 80 and host 10.0.0.1'
  finack read --summary day-*.pcap
  finack read trace.pcap --where 'state=CLOSE_WAIT and closed-by=client'
  finack read trace.pcap --json --only connection | jq .teardown.why
  tcpdump -i eth0 -U -w - | finack read -
  finack read trace.pcapng 'tcp port 80' --fixture half-close.txtar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, filter := splitArgs(args, cmd.ArgsLenAtDash())
			files, err := expand(append(named, files...))
			if err != nil {
				return err
			}
			if len(files) == 0 {
				if len(args) > 0 {
					return usagef("read %s: no such file", args[0])
				}
				return usagef("read: no file named: see finack read --help")
			}
			if err := o.parse(cmd); err != nil {
				return err
			}
			if err := checkFilter(filter); err != nil {
				return err
			}
			if err := o.checkWrite(files); err != nil {
				return err
			}
			if err := record.begin(&o, files, filter); err != nil {
				return err
			}
			src, err := capture.OpenFiles(files, &capture.FileConfig{Filter: o.filter(filter), Stdin: s.in})
			if err != nil {
				return err
			}
			defer src.Close()
			progress := newProgress(s.err, progressbar.OptionShowBytes(true), progressbar.OptionShowCount())
			s := std{s.in, s.out, &afterProgress{s.err, progress}}
			if isTerminal(s.out) {
				s.out = &afterProgress{s.out, progress}
			}
			cfg, done, err := o.prepare(s, 0)
			if err != nil {
				return err
			}
			cfg.Source, cfg.Shards = record.source(src), shards
			if record.path == "-" { // stdout is the fixture's
				cfg.Out, cfg.Flush, cfg.Renderer = nil, nil, nil
			}
			if isTerminal(s.out) && cfg.Hide != trace.AllKinds {
				progress.shown = false // lines come there all the time
			}
			stop := progress.follow(src)
			totals, err := pipeline.Run(cmd.Context(), cfg)
			stop()
			if derr := done(); err == nil {
				err = derr
			}
			if err == nil {
				err = record.finish(s)
			}
			return o.conclude(s, &totals, err)
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVar(&shards, "shards", min(2, runtime.GOMAXPROCS(0)), "share the connections out among `N` trackers, each on a core")
	cmd.Flags().StringVar(&record.path, "fixture", "", "also write a fixture to `FILE` (- for stdout): see finack check")
	cmd.Flags().StringArrayVarP(&named, "read", "r", nil, "read `FILE`, as an argument would")
	return cmd
}

// splitArgs tells files from the filter. dash is the index of --, or −1.
func splitArgs(args []string, dash int) (files []string, filter string) {
	if dash >= 0 {
		return args[:dash], strings.Join(args[dash:], " ")
	}
	n := 0
	for n < len(args) && isFile(args[n]) {
		n++
	}
	return args[:n], strings.Join(args[n:], " ")
}

// isFile reports whether an argument is meant as a file, or as a pattern of files.
func isFile(arg string) bool {
	if arg == "-" || isCapture(arg) {
		return true
	}
	if _, err := os.Stat(arg); err == nil {
		return true
	}
	matches, err := filepath.Glob(arg)
	return err == nil && len(matches) > 0
}

// isCapture reports whether an argument ends as the name of a capture does.
func isCapture(arg string) bool {
	name := strings.TrimSuffix(strings.TrimSuffix(arg, ".gz"), ".zst")
	for _, suffix := range [...]string{".pcap", ".pcapng", ".cap"} {
		if strings.HasSuffix(name, suffix) && !strings.Contains(arg, " ") {
			return true
		}
	}
	return false
}

// expand replaces what is no file and has *, ? or [ in it, as no shell has done,
// by the files that match.
func expand(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		_, err := os.Stat(name)
		if err == nil || !strings.ContainsAny(name, "*?[") {
			files = append(files, name)
			continue
		}
		matches, err := filepath.Glob(name)
		if err != nil {
			return nil, usagef("read %s: %w", name, err)
		}
		if len(matches) == 0 {
			return nil, usagef("read %s: no file matches", name)
		}
		slices.Sort(matches)
		files = append(files, matches...)
	}
	return files, nil
}

// checkFilter says early what is wrong with a filter, and that its first word
// may have been meant as a file.
func checkFilter(filter string) error {
	_, err := pcapfilter.Parse(filter)
	var syntax *pcapfilter.SyntaxError
	if errors.As(err, &syntax) {
		first, _, _ := strings.Cut(filter, " ")
		if strings.ContainsAny(first, "./") {
			return &statusError{exitUsage, fmt.Errorf("%w (and there is no file %s)", err, first)}
		}
	}
	return err
}
