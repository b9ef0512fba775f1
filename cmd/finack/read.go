package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/pcapfilter"
	"finack/internal/pipeline"
)

func newRead(s std) *cobra.Command {
	var o output
	var named []string
	var record recording
	cmd := &cobra.Command{
		Use:   "read FILE… [FILTER]",
		Short: "Trace the connections in capture files",
		Long: `read traces the connections in pcap and pcapng files, plain or compressed with
gzip or zstd; - is standard input. The first arguments that exist, are - or end
in .pcap, .pcapng or .cap (also with .gz or .zst) are files, the rest is a
filter in tcpdump's language; -- ends the files.

--fixture writes the packets as text, with their events and the verdict, for
finack check. What that text cannot say is refused by name, with a filter that
leaves it out.`,
		Example: `  finack read trace.pcapng
  finack read trace.pcap 'tcp port 80 and host 10.0.0.1'
  tcpdump -i eth0 -U -w - | finack read -
  finack read trace.pcapng 'tcp port 80' --fixture half-close.txtar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, filter := splitArgs(args, cmd.ArgsLenAtDash())
			files = append(named, files...)
			if len(files) == 0 {
				if len(args) > 0 {
					return usagef("read %s: no such file", args[0])
				}
				return usagef("read: no file named: see finack read --help")
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
			src, err := capture.OpenFiles(files, &capture.FileConfig{Filter: filter, Stdin: s.in})
			if err != nil {
				return err
			}
			defer src.Close()
			cfg, done, err := o.prepare(s, 0)
			if err != nil {
				return err
			}
			cfg.Source = record.source(src)
			if record.path == "-" { // stdout is the fixture's
				cfg.Out, cfg.Flush, cfg.Renderer = nil, nil, nil
			}
			totals, err := pipeline.Run(cmd.Context(), cfg)
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

// isFile reports whether an argument is meant as a file.
func isFile(arg string) bool {
	if arg == "-" {
		return true
	}
	name := strings.TrimSuffix(strings.TrimSuffix(arg, ".gz"), ".zst")
	for _, suffix := range [...]string{".pcap", ".pcapng", ".cap"} {
		if strings.HasSuffix(name, suffix) && !strings.Contains(arg, " ") {
			return true
		}
	}
	_, err := os.Stat(arg)
	return err == nil
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
