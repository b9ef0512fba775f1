package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
		o     output
		cfg   echo.ServerConfig
		trace bool
	)
	cmd := &cobra.Command{
		Use:   "serve [URL…]",
		Short: "Echo what comes",
		Long: `serve echoes on each URL: tcp://HOST:PORT, udp://HOST:PORT (tcp4, tcp6, udp4, udp6
for one IP version), unix://PATH, unixgram://PATH, unixpacket://PATH. Without one
it serves the echo port, 7, over TCP and UDP. With --trace it shows the
handshake and the teardown of each of its TCP connections, and the first datagrams
of each exchange, as seen on the wire; that needs CAP_NET_RAW. Ctrl-C stops it gracefully.`,
		Example: `  finack echo serve tcp://127.0.0.1:7007 udp://127.0.0.1:7007
  sudo finack echo serve --trace --close-delay 80ms`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"tcp://:7", "udp://:7"}
			}
			eps, err := endpoints(args)
			if err != nil {
				return err
			}
			var mu sync.Mutex
			cfg.OnError = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(s.err, "finack: %v\n", err)
			}
			srv, err := echo.Listen(cmd.Context(), eps, &cfg)
			if errors.Is(err, os.ErrPermission) {
				return &statusError{exitDenied, fmt.Errorf("%w: ports below 1024 need root; name another, as in tcp://127.0.0.1:7007", err)}
			}
			if err != nil {
				return err
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
			return errors.Join(err, traced())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&cfg.CloseDelay, "close-delay", 0, "wait between the peer's FIN and our close")
	f.BoolVar(&trace, "trace", false, "trace the server's own connections on the wire")
	f.BoolVar(&o.all, "all", false, "with --trace: show every segment and datagram")
	f.BoolVar(&o.json, "json", false, "with --trace: print JSON Lines")
	f.StringVar(&o.color, "color", "auto", "colour: auto, always or never")
	return cmd
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
		Example: `  finack echo send tcp://127.0.0.1:7007 --count 5
  finack echo send udp://127.0.0.1:7007 --size 1400 --interval 100ms`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			eps, err := endpoints(args)
			if err != nil {
				return err
			}
			if cfg.Size == 0 {
				cfg.Size = -1 // an empty message, where echo takes zero for its default
			}
			res, err := echo.Send(cmd.Context(), eps[0], &cfg, func(r echo.Reply) {
				switch {
				case quiet:
				case r.Err != nil:
					fmt.Fprintf(s.out, "%d: %v\n", r.Seq, r.Err)
				default:
					fmt.Fprintf(s.out, "%d: %d bytes in %v\n", r.Seq, r.Bytes, r.RTT.Round(100*time.Nanosecond))
				}
			})
			if res.Sent > 0 {
				fmt.Fprintf(s.out, "%s → %s: %d sent, %d answered, %d lost; ", res.Local, res.Remote, res.Sent, res.Received, res.Lost)
				if res.Received > 0 {
					fmt.Fprintf(s.out, "round trip min %v, p50 %v, p90 %v, p99 %v, max %v; ",
						res.RTT.Min, res.RTT.P50, res.RTT.P90, res.RTT.P99, res.RTT.Max)
				}
				fmt.Fprintf(s.out, "at the end: %v\n", res.End)
			}
			switch {
			case errors.Is(err, context.Canceled):
				return nil
			case errors.Is(err, syscall.ENOENT), errors.Is(err, fs.ErrNotExist):
				return &statusError{exitUsage, err}
			case err == nil && res.Received < res.Sent:
				return &statusError{status: exitCheck}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVarP(&cfg.Count, "count", "c", 1, "number of messages")
	f.IntVar(&cfg.Size, "size", 64, "bytes a message")
	f.DurationVar(&cfg.Interval, "interval", 0, "time between messages")
	f.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	f.BoolVar(&cfg.HalfClose, "half-close", false, "send FIN right after the last message, before its answer")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the result only")
	return cmd
}
