package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"finack/internal/bench"
	"finack/internal/privnet"
)

// liveBenchmark is what finack bench live was asked for.
type liveBenchmark struct {
	packets, conns, rounds int
	rate                   int
	only                   string
	quick                  bool
}

func newBenchLive(s std) *cobra.Command {
	var b liveBenchmark
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Measure live capture: loss, and CPU time a packet, beside tcpdump's",
		Long: `live makes a private network and measures in it, in turn and in one run, finack
watch and tcpdump, where it is installed:
  flood  short connections of the smallest packets, as many as one core can send
  paced  the same at --rate packets a second
  echo   connections on loopback that echo 64 bytes; what they cost with a
         capture beside them, and without
It needs no root, and two cores that have nothing else to do.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !privnet.Inside() {
				status, err := privnet.Run()
				if err != nil {
					return fmt.Errorf("%w (sudo %s)", err, cmd.CommandPath())
				}
				return silent(status)
			}
			if err := privnet.Setup(); err != nil {
				return err
			}
			return b.run(cmd.Context(), s.out)
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.packets, "packets", 4_000_000, "send `N` packets for each measurement")
	f.IntVar(&b.conns, "conns", 20_000, "make `N` connections on loopback for each")
	f.IntVar(&b.rate, "rate", 250_000, "send `N` packets a second where they are paced")
	f.IntVar(&b.rounds, "rounds", 3, "measure each `N` times; the best is told")
	f.StringVar(&b.only, "only", "", "measure `KIND` alone: flood, paced or echo")
	f.BoolVar(&b.quick, "quick", false, "few packets and one round: to see that it works")
	return cmd
}

func (b *liveBenchmark) run(ctx context.Context, w io.Writer) error {
	if b.quick {
		b.packets, b.conns, b.rounds = 50_000, 200, 1
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := privnet.Veth("va", "vb"); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", bench.Machine())
	summary := finackWatcher(self, "--summary")
	text := finackWatcher(self)
	tcpdump, tcpdumpText := tcpdumpWatcher("-w", "/dev/null"), tcpdumpWatcher("-n")
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"flood", func() error {
			return b.send(ctx, w, "as many packets as one core can send", 0, summary, text, tcpdump)
		}},
		{"paced", func() error {
			return b.send(ctx, w, fmt.Sprintf("%d packets a second", b.rate), b.rate, summary, text, tcpdump, tcpdumpText)
		}},
		{"echo", func() error { return b.echo(ctx, w, summary, text, tcpdump, tcpdumpText) }},
	} {
		if (b.only == "" || b.only == part.name) && ctx.Err() == nil {
			if err := part.run(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func finackWatcher(self string, args ...string) *bench.Watcher {
	argv := append(append([]string{self, "watch", "-i", "IFACE"}, args...), "tcp")
	return &bench.Watcher{
		Name: strings.TrimSpace("finack watch " + strings.Join(args, " ")), Argv: argv, Ready: "watching",
		Received: regexp.MustCompile(`(?m)^(\d+) frames?, `),
		Dropped:  regexp.MustCompile(`(?m), (\d+) frames? lost$`),
	}
}

func tcpdumpWatcher(args ...string) *bench.Watcher {
	argv := append(append([]string{"tcpdump", "-i", "IFACE"}, args...), "-Z", "root", "tcp")
	return &bench.Watcher{
		Name: "tcpdump " + strings.Join(args, " "), Argv: argv, Ready: "listening on",
		Received: regexp.MustCompile(`(?m)^(\d+) packets? captured`),
		Dropped:  regexp.MustCompile(`(?m)^(\d+) packets? dropped by kernel`),
	}
}

// send measures watchers beside packets that are sent.
func (b *liveBenchmark) send(ctx context.Context, w io.Writer, about string, rate int, watchers ...*bench.Watcher) error {
	best := make([]bench.LiveResult, len(watchers))
	for round := range b.rounds {
		for i, x := range watchers {
			if best[i].Err != nil {
				continue
			}
			r := bench.Live(ctx, x, "va", "vb", &bench.LiveConfig{Packets: b.packets, Rate: rate})
			// Of two that lose nothing the cheaper, else the one that lost less.
			better := r.Lost() < best[i].Lost() || r.Lost() == best[i].Lost() && r.CPU < best[i].CPU
			if round == 0 || r.Err != nil || better {
				best[i] = r
			}
		}
	}
	t := bench.Table{Title: about, Header: []string{"program", "offered/s", "offered", "received", "dropped", "CPU/packet", "peak memory"}}
	for i, r := range best {
		row := []string{watchers[i].Name}
		if r.Err != nil {
			row = append(row, failure(r.Err), "", "", "", "", "")
		} else {
			row = append(row, fmt.Sprintf("%.0f", r.Rate()), fmt.Sprint(r.Offered), fmt.Sprint(r.Received), fmt.Sprint(r.Dropped),
				fmt.Sprintf("%d ns", r.PerPacket().Nanoseconds()), fmt.Sprintf("%d MB", r.MaxRSS/1e6))
		}
		t.Rows = append(t.Rows, row)
	}
	_, err := w.Write((&bench.Report{Tables: []bench.Table{t}}).Append(nil))
	return errors.Join(err, ctx.Err())
}

// failure is an error as a table shows it.
func failure(err error) string {
	if errors.Is(err, exec.ErrNotFound) {
		return "not installed"
	}
	return err.Error()
}

// echo measures what connections on loopback cost beside watchers.
func (b *liveBenchmark) echo(ctx context.Context, w io.Writer, watchers ...*bench.Watcher) error {
	watchers = slices.Insert(watchers, 0, nil) // nobody
	best := make([]bench.EchoResult, len(watchers))
	for round := range b.rounds {
		for i, x := range watchers {
			if best[i].Err != nil {
				continue
			}
			if r := bench.Echo(ctx, x, b.conns); round == 0 || r.Err != nil || r.Total() < best[i].Total() {
				best[i] = r
			}
		}
	}
	if best[0].Err != nil {
		return best[0].Err
	}
	t := bench.Table{
		Title:  "connect, echo 64 bytes, close on loopback",
		Header: []string{"program", "ratio", "µs/connection", "of that the capture", "dropped"},
	}
	for i, r := range best {
		row := []string{"(none)"}
		if watchers[i] != nil {
			row[0] = watchers[i].Name
		}
		if r.Err != nil {
			row = append(row, failure(r.Err), "", "", "")
		} else {
			each := func(d time.Duration) string {
				return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/1e3/float64(r.Conns))
			}
			row = append(row, fmt.Sprintf("%.2f", float64(r.Total())/float64(best[0].Total())), each(r.Total()), each(r.Watcher), fmt.Sprint(r.Dropped))
		}
		t.Rows = append(t.Rows, row)
	}
	_, err := w.Write((&bench.Report{Tables: []bench.Table{t}}).Append(nil))
	return errors.Join(err, ctx.Err())
}
