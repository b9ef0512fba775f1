package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/pipeline"
	"finack/internal/render"
	"finack/trace"
)

// defaultUDPTimeout is the tracker's.
const defaultUDPTimeout = 60 * time.Second

// output holds the flags that watch and read share: what is shown, and how.
type output struct {
	json, all, absolute, verbose, strict bool
	color                                string
	write                                string
	count                                uint64
	udpTimeout                           time.Duration
	lifecycle                            bool
	maxConns                             int
	choice                               choice

	// interfaceName names an interface by its index; nil where frames have none.
	interfaceName func(uint32) string
}

func (o *output) flags(cmd *cobra.Command) {
	o.styleFlags(cmd)
	o.choice.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "show every segment and datagram, data too")
	f.BoolVar(&o.absolute, "absolute", false, "print sequence numbers as on the wire, not relative")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show timers, steps of teardowns, TTLs, interfaces")
	f.BoolVar(&o.strict, "strict", false, "exit with status 5 when packets were lost")
	f.StringVarP(&o.write, "write", "w", "", "also write the frames to `FILE` (pcapng, or pcap by its name; - for stdout)")
	f.Uint64VarP(&o.count, "count", "c", 0, "stop after `N` frames")
	f.DurationVar(&o.udpTimeout, "udp-timeout", defaultUDPTimeout, "silence that ends a UDP or ICMP echo flow")
	f.BoolVar(&o.lifecycle, "lifecycle", false, "take only what births and deaths need: segments with SYN, FIN or RST, or without payload")
	f.IntVar(&o.maxConns, "max-conns", trace.DefaultMaxConns, "follow at most `N` connections at a time: a bound of the memory,\nabout 256 bytes for each that is open")
	f.BoolP("no-names", "n", true, "names are never resolved; accepted for tcpdump's sake")
}

// parse looks at the flags, before anything is opened.
func (o *output) parse(cmd *cobra.Command) error {
	if o.maxConns < 1 {
		return usagef("--max-conns %d: must be at least 1", o.maxConns)
	}
	return o.choice.parse(cmd)
}

// styleFlags are those of every command that prints text or JSON.
func (o *output) styleFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON Lines")
	cmd.Flags().StringVar(&o.color, "color", "auto", "colour: auto, always or never")
}

// colored reports whether w gets colour.
func (o *output) colored(w io.Writer) (bool, error) {
	switch o.color {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", nil
	default:
		return false, usagef("--color %s: must be auto, always or never", o.color)
	}
}

func (o *output) renderer(w io.Writer) (pipeline.Renderer, error) {
	if o.json {
		return &render.JSON{Absolute: o.absolute, Verbose: o.verbose, Interface: o.interfaceName}, nil
	}
	color, err := o.colored(w)
	if err != nil {
		return nil, err
	}
	return &render.Text{
		Color: color, Absolute: o.absolute, Verbose: o.verbose, Location: time.Local, Interface: o.interfaceName,
	}, nil
}

// interfaceNames returns a function that names this host's interfaces by their
// index, "" where there is none. It asks the kernel once for each.
func interfaceNames() func(uint32) string {
	names := make(map[uint32]string)
	return func(index uint32) string {
		name, ok := names[index]
		if !ok {
			if iface, err := net.InterfaceByIndex(int(index)); err == nil {
				// The kernel takes nearly any byte in a name.
				quoted := strconv.QuoteToASCII(iface.Name)
				name = quoted[1 : len(quoted)-1]
			}
			names[index] = name
		}
		return name
	}
}

// prepare fills in the part of a pipeline that the flags decide; done ends it.
func (o *output) prepare(s std, snaplen uint32) (cfg pipeline.Config, done func() error, err error) {
	w := bufio.NewWriterSize(s.out, 64<<10)
	cfg = pipeline.Config{
		Out: w, Flush: w.Flush, Count: o.count,
		Tracker: &trace.Config{All: o.all, UDPTimeout: o.udpTimeout, MaxConns: o.maxConns, Lifecycle: o.lifecycle},
		Warn:    func(err error) { fmt.Fprintf(s.err, "finack: %v\n", err) },
	}
	if cfg.Renderer, err = o.renderer(s.out); err != nil {
		return cfg, nil, err
	}
	o.choice.apply(&cfg, o.json)
	done = func() error { return nil }
	if o.write != "" {
		if o.write == "-" { // stdout is the capture's
			cfg.Out, cfg.Flush, cfg.Renderer = nil, nil, nil
		}
		cfg.Writer, err = capture.CreateFile(o.write, &capture.WriterConfig{Snaplen: snaplen})
		if err != nil {
			return cfg, nil, err
		}
		done = cfg.Writer.Close
	}
	return cfg, done, nil
}

// filter returns the filter for the source: what was asked for, and with
// --lifecycle no data.
func (o *output) filter(expr string) string {
	if o.lifecycle {
		return capture.LifecycleFilter(expr)
	}
	return expr
}

// checkWrite refuses to write over a file that is being read.
func (o *output) checkWrite(files []string) error {
	out, err := os.Stat(o.write)
	if o.write == "" || err != nil {
		return nil
	}
	for _, name := range files {
		if in, err := os.Stat(name); err == nil && os.SameFile(in, out) {
			return usagef("-w %s: is the file to read", o.write)
		}
	}
	return nil
}

// conclude says on stderr what was lost or left out, and decides the status.
func (o *output) conclude(s std, totals *render.Totals, err error) error {
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if text := render.AppendLosses(nil, totals); len(text) > 0 {
		fmt.Fprintf(s.err, "finack: %s\n", text)
	}
	if err == nil && o.strict && totals.Dropped > 0 {
		return &statusError{status: exitLost}
	}
	return err
}
