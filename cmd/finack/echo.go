package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/echo"
	"finack/internal/pipeline"
	"finack/internal/privnet"
)

func newEcho(s std) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "echo",
		Short: "An RFC 862 echo server and client over TCP, UDP and Unix sockets",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: finack echo knows serve and send", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newEchoServe(s), newEchoSend(s))
	return cmd
}

// grace is how long a server that was told to stop goes on with what it has.
const grace = 5 * time.Second

func newEchoServe(s std) *cobra.Command {
	var (
		o       output
		cfg     echo.ServerConfig
		backlog int
		linger  time.Duration
		trace   bool
	)
	cmd := &cobra.Command{
		Use:   "serve [URL…]",
		Short: "Echo what comes",
		Long: `serve echoes on each URL: tcp://HOST:PORT, udp://HOST:PORT (tcp4, tcp6, udp4,
udp6 for one IP version), unix://PATH, unixgram://PATH, unixpacket://PATH.
Without one it serves the echo port, 7, over TCP and UDP. A Unix socket's file
that no program has open any more is replaced; at the end the file is removed.

With --trace it shows the handshake and the teardown of each of its TCP
connections, and the first datagrams of each exchange, as seen on the wire; that
needs CAP_NET_RAW.

Ctrl-C or SIGTERM stops it gracefully: what has arrived is answered, each
connection gets a FIN, and its peer has 5 s to close. A second one ends at once.`,
		Example: `  finack echo serve tcp://127.0.0.1:7007 udp://:7007 unix:///tmp/echo.sock
  finack echo serve tcp://:7007 --idle-timeout 30s --max-conns 1000
  sudo finack echo serve --trace --close-delay 80ms`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"tcp://:7", "udp://:7"}
			}
			eps, err := endpoints(args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("backlog") {
				cfg.Backlog = &backlog
			}
			if cmd.Flags().Changed("linger") {
				if linger < 0 || linger%time.Second != 0 || linger > math.MaxUint16*time.Second {
					return usagef("--linger %v: SO_LINGER has whole seconds, 0 or more", linger)
				}
				cfg.Linger = &linger
			}
			for name, negative := range map[string]bool{
				"close-delay": cfg.CloseDelay < 0, "idle-timeout": cfg.IdleTimeout < 0, "max-conns": cfg.MaxConns < 0,
			} {
				if negative {
					return usagef("--%s: must not be negative", name)
				}
			}
			var mu sync.Mutex
			cfg.OnError = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(s.err, "finack: %v\n", err)
			}
			srv, err := echo.Listen(cmd.Context(), eps, &cfg)
			if err != nil {
				return listenError(err)
			}
			defer srv.Close()
			traced := func() error { return nil }
			// The trace begins before anybody is told where to connect, and ends
			// after the server's own last FIN.
			traceCtx, endTrace := context.WithCancel(context.WithoutCancel(cmd.Context()))
			defer endTrace()
			if trace {
				if traced, err = startTrace(traceCtx, s, &o, srv.Addrs()); err != nil {
					return err
				}
			}
			for i, a := range srv.Addrs() {
				fmt.Fprintf(s.err, "finack: echoing on %s://%s\n", eps[i].Network, a)
			}
			served := make(chan struct{})
			go func() {
				srv.Serve()
				close(served)
			}()
			<-cmd.Context().Done()
			ctx, cancel := context.WithTimeout(context.Background(), grace)
			defer cancel()
			err = srv.Shutdown(ctx)
			<-served
			endTrace()
			if errors.Is(err, context.DeadlineExceeded) { // theirs to answer for: we have sent our FIN
				fmt.Fprintf(s.err, "finack: %v\n", err)
				err = nil
			}
			return errors.Join(err, traced())
		},
	}
	f := cmd.Flags()
	f.IntVar(&backlog, "backlog", 0, "listen(2)'s backlog: `N` connections and one more\n"+
		"wait to be accepted (negative, and unless set:\nnet.core.somaxconn)")
	f.DurationVar(&cfg.CloseDelay, "close-delay", 0, "wait between the peer's FIN and our close")
	f.DurationVar(&cfg.IdleTimeout, "idle-timeout", 0, "close a connection when its peer sends nothing\n"+
		"for `D`: our FIN is the first, so the TIME_WAIT is\nours (0: never)")
	f.DurationVar(&linger, "linger", 0, "SO_LINGER of TCP, in whole seconds: close waits\n"+
		"up to `D` for the peer's ACK; 0s: close sends RST,\nnot FIN, and discards what is unsent")
	f.IntVar(&cfg.MaxConns, "max-conns", 0, "serve `N` connections at a time; more wait in the\n"+
		"backlog, connected but unanswered (0: no limit)")
	f.BoolVar(&trace, "trace", false, "trace the server's own connections on the wire")
	f.BoolVar(&o.all, "all", false, "with --trace: show every segment and datagram")
	f.BoolVar(&o.json, "json", false, "with --trace: print JSON Lines")
	f.StringVar(&o.color, "color", "auto", "colour: auto, always or never")
	return cmd
}

// listenError says what to do about an error of echo.Listen.
func listenError(err error) error {
	var op *net.OpError
	switch unixSocket := errors.As(err, &op) && strings.HasPrefix(op.Net, "unix"); {
	case errors.Is(err, os.ErrPermission) && unixSocket:
		return &statusError{exitDenied, fmt.Errorf("%w: its directory must be writable", err)}
	case errors.Is(err, os.ErrPermission):
		return &statusError{exitDenied, fmt.Errorf("%w: ports below 1024 need root; name another, as in tcp://127.0.0.1:7007", err)}
	case errors.Is(err, syscall.ENOTDIR):
		return &statusError{exitUsage, err}
	}
	return err
}

func endpoints(urls []string) ([]echo.Endpoint, error) {
	eps := make([]echo.Endpoint, 0, len(urls))
	for _, u := range urls {
		ep, err := echo.ParseEndpoint(u)
		if err != nil {
			return nil, &statusError{exitUsage, err}
		}
		eps = append(eps, ep)
	}
	return eps, nil
}

// startTrace captures the connections of a server's own addresses until ctx
// ends; wait returns when the summary is out.
func startTrace(ctx context.Context, s std, o *output, addrs []net.Addr) (wait func() error, err error) {
	filter := serverFilter(addrs)
	if filter == "" {
		return nil, usagef("echo serve --trace: Unix sockets send no packets")
	}
	src, err := capture.OpenLive(&capture.LiveConfig{Interface: "any", Filter: filter})
	if err != nil {
		return nil, needsPrivilege(fmt.Errorf("--trace: %w", err))
	}
	cfg, _, err := o.prepare(s, 0)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	if err := dropPrivileges(s); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	cfg.Source, cfg.Live, cfg.AllIfs = src, true, true
	done := make(chan error, 1)
	go func() {
		totals, err := pipeline.Run(ctx, cfg)
		done <- o.conclude(s, &totals, errors.Join(err, src.Close()))
	}()
	return func() error { return <-done }, nil
}

// dropPrivileges drops them, or says why some are left.
func dropPrivileges(s std) error {
	err := privnet.DropPrivileges()
	if errors.Is(err, privnet.ErrCgo) {
		fmt.Fprintf(s.err, "finack: capabilities are kept: %v\n", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	return nil
}

// serverFilter is the filter for a server's own sockets.
func serverFilter(addrs []net.Addr) string {
	var terms []string
	for _, a := range addrs {
		var ip net.IP
		var port int
		proto := ""
		switch a := a.(type) {
		case *net.TCPAddr:
			proto, ip, port = "tcp", a.IP, a.Port
		case *net.UDPAddr:
			proto, ip, port = "udp", a.IP, a.Port
		default:
			continue
		}
		term := fmt.Sprintf("(%s port %d", proto, port)
		if !ip.IsUnspecified() {
			term += " and host " + ip.String()
		}
		terms = append(terms, term+")")
	}
	slices.Sort(terms)
	return strings.Join(slices.Compact(terms), " or ")
}

func newEchoSend(s std) *cobra.Command {
	var (
		cfg   echo.ClientConfig
		quiet bool
	)
	cmd := &cobra.Command{
		Use:   "send URL",
		Short: "Send messages to an echo server and verify each answer",
		Long: `send sends messages, each after the answer to the one before, compares every
byte of the answers and prints the round trips; at the end, also after Ctrl-C,
how many were lost and how long they took. URL is as serve takes it. Of a TCP or
Unix connection it then ends its direction and waits for the server's end.

Exit status: 1 when an answer is missing or wrong, 6 when there is no connection
or it breaks.`,
		Example: `  finack echo send tcp://127.0.0.1:7007 --count 5
  finack echo send udp://127.0.0.1:7007 --size 1400 --interval 100ms --count -1`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			eps, err := endpoints(args)
			if err != nil {
				return err
			}
			switch {
			case cfg.Size < 0:
				return usagef("--size %d: must not be negative", cfg.Size)
			case cfg.Size == 0:
				cfg.Size = -1 // an empty message, where echo takes zero for its default
			}
			var report func(echo.Reply)
			if !quiet {
				report = func(r echo.Reply) { fmt.Fprintln(s.out, replyLine(r)) }
			}
			res, err := echo.Send(cmd.Context(), eps[0], &cfg, report)
			if res.Sent > 0 {
				fmt.Fprint(s.out, statistics(eps[0], &res))
			}
			switch {
			case errors.Is(err, context.Canceled):
				return nil
			case errors.Is(err, syscall.ENOENT), errors.Is(err, fs.ErrNotExist):
				return &statusError{exitUsage, err}
			case errors.Is(err, echo.ErrWrong):
				return &statusError{exitCheck, err}
			case err == nil && (res.Received < res.Sent || res.Wrong > 0):
				return &statusError{status: exitCheck}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVarP(&cfg.Count, "count", "c", 1, "messages to send; negative: until Ctrl-C")
	f.IntVar(&cfg.Size, "size", 64, "bytes a message; 0 for datagrams only")
	f.DurationVar(&cfg.Interval, "interval", 0, "time between the beginnings of two messages")
	f.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	f.BoolVar(&cfg.HalfClose, "half-close", false, "send FIN right after the last message, before its\nanswer")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the statistics only")
	return cmd
}

// replyLine is one message's line, as ping has it.
func replyLine(r echo.Reply) string {
	line := fmt.Sprintf("seq=%d", r.Seq)
	if r.Err == nil || r.RTT > 0 {
		line = fmt.Sprintf("%d bytes from %v: seq=%d", r.Bytes, r.From, r.Seq)
	}
	if r.RTT > 0 {
		line += " time=" + millis(r.RTT) + " ms"
	}
	if r.Err != nil {
		line += ": " + r.Err.Error()
	}
	return line
}

// statistics sums up a conversation.
func statistics(ep echo.Endpoint, res *echo.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n--- %v echo statistics ---\n", ep)
	fmt.Fprintf(&b, "%d sent, %d received, %.3g%% lost", res.Sent, res.Received, 100*float64(res.Lost)/float64(res.Sent))
	for _, n := range []struct {
		n    int
		what string
	}{{res.Late, "late"}, {res.Duplicates, "duplicate"}, {res.Wrong, "wrong"}} {
		if n.n > 0 {
			fmt.Fprintf(&b, ", %d %s", n.n, n.what)
		}
	}
	if datagrams := strings.HasPrefix(ep.Network, "udp") || ep.Network == "unixgram"; !datagrams || res.End != echo.EndNothing {
		fmt.Fprintf(&b, "; the server's end: %v", res.End)
	}
	b.WriteByte('\n')
	if t := res.RTT; res.Received > 0 {
		fmt.Fprintf(&b, "round trip min/p50/p90/p99/max = %s/%s/%s/%s/%s ms\n",
			millis(t.Min), millis(t.P50), millis(t.P90), millis(t.P99), millis(t.Max))
	}
	if res.End == echo.EndRefused && strings.HasPrefix(ep.Network, "udp") {
		b.WriteString("Nobody listens there: UDP has no handshake; a datagram drew an ICMP port\n" +
			"unreachable, and only the next call on the socket told of it.\n")
	}
	return b.String()
}

// millis returns d in milliseconds, to the microsecond.
func millis(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1e3) }
