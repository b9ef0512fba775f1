package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"finack/internal/lab"
	"finack/internal/privnet"
)

func newEchoCompare(s std) *cobra.Command {
	var (
		o   output
		cfg lab.CompareConfig
	)
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "TCP, UDP and Unix sockets side by side: latency, packets, losses; needs no root",
		Long: `compare has messages echoed over TCP, UDP and Unix stream, datagram and seqpacket
sockets between two processes, and shows side by side how long the round trips
take, what each costs on the wire, how messages are kept apart, and what becomes
of them on a wire that loses 1 % of the frames. Every byte is verified. Ctrl-C
ends it with what was measured so far.

It makes a private network for that. Where none is allowed it measures on this
host's loopback, and nothing is said of the wire and of losses. A transport sends
--count messages for each number of connections. Exit status 1 means that bytes
were wrong, or that a stream lost some.`,
		Example: `  finack echo compare
  finack echo compare --size 16384 --conns 1 --chart
  finack echo compare --transport tcp,udp --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkCompare(&cfg); err != nil {
				return err
			}
			cfg.Serve = serveElsewhere(s.err)
			progress := newProgress(s.err)
			cfg.Progress = progress.step
			compare := func(private bool) error {
				defer progress.finish()
				cfg.Private = private
				return lab.Compare(cmd.Context(), &afterProgress{s.out, progress}, &cfg)
			}
			err := runScenario(cmd, s, &o, func(c *lab.Config) error {
				cfg.Config = *c
				return compare(true)
			})
			// Refused inside of one, there is no loopback to fall back to.
			if refused := (*privnet.Error)(nil); errors.As(err, &refused) && !privnet.Inside() {
				fmt.Fprintf(s.err, "finack: %v; on this host's loopback instead, without packets and losses\n", err)
				cfg.JSON = o.json
				err = checked(compare(false))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Size, "size", 64, "bytes a message")
	f.IntVarP(&cfg.Count, "count", "c", 10_000, "messages for each transport and number of connections")
	f.IntSliceVar(&cfg.Conns, "conns", []int{1, 10, 100}, "connections at once")
	f.StringSliceVar(&cfg.Transports, "transport", lab.Transports(), "which ones")
	f.BoolVar(&cfg.Chart, "chart", false, "draw how the round trips are distributed")
	o.styleFlags(cmd)
	return cmd
}

func checkCompare(cfg *lab.CompareConfig) error {
	switch {
	case cfg.Size < 1:
		return usagef("--size %d: must be 1 or more", cfg.Size)
	case cfg.Count < 1:
		return usagef("--count %d: must be 1 or more", cfg.Count)
	case len(cfg.Conns) == 0 || slices.Min(cfg.Conns) < 1:
		return usagef("--conns: must be 1 or more each")
	}
	for _, t := range cfg.Transports {
		if !slices.Contains(lab.Transports(), t) {
			return usagef("--transport %s: is none of %s", t, strings.Join(lab.Transports(), ", "))
		}
	}
	return nil
}

// serveElsewhere returns a function that runs echo serve as a process of its
// own; what that complains about goes to stderr.
func serveElsewhere(stderr io.Writer) func(context.Context, []string) ([]string, func() error, error) {
	return func(_ context.Context, urls []string) (bound []string, stop func() error, err error) {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		server := exec.Command(self, append([]string{"echo", "serve"}, urls...)...)
		pipe, err := server.StderrPipe()
		if err != nil {
			return nil, nil, err
		}
		if err := server.Start(); err != nil {
			return nil, nil, err
		}
		lines := bufio.NewScanner(pipe)
		for len(bound) < len(urls) && lines.Scan() {
			if url, ok := strings.CutPrefix(lines.Text(), "finack: echoing on "); ok {
				bound = append(bound, url)
				continue
			}
			fmt.Fprintln(stderr, lines.Text())
		}
		rest := make(chan struct{})
		go func() {
			_, _ = io.Copy(stderr, pipe)
			close(rest)
		}()
		stop = func() error {
			_ = server.Process.Signal(syscall.SIGTERM)
			<-rest
			return server.Wait()
		}
		if len(bound) < len(urls) {
			return nil, nil, fmt.Errorf("echo server: %w", errors.Join(errors.New("it does not serve"), stop()))
		}
		return bound, stop, nil
	}
}
