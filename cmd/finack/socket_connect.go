package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"finack/internal/lab"
	"finack/internal/privnet"
)

// The limits and defaults of socket connect.
const (
	connectSize    = 64
	maxConnectSize = 1 << 20
	connectSource  = "10.9.7.7"
)

// connectFlags are the flags of socket connect.
type connectFlags struct {
	output
	byHand, peerCloses, toNetwork bool
	source, message               string
	size                          int
}

func newSocketConnect(s std) *cobra.Command {
	var o connectFlags
	cmd := &cobra.Command{
		Use:   "connect [tcp://HOST:PORT]",
		Short: "Connect, have a message echoed and close, each segment shown; with --by-hand made in user space",
		Long: `connect opens a TCP connection to an echo server, has a message echoed, closes, and
shows every segment with the states that it proves for both ends.

With --by-hand no kernel's TCP takes part at this end: handshake, data, acknowledgments,
retransmissions and teardown are made here, sent through a raw socket, and each is
explained: where its numbers come from and why it is sent. They are sent from an
address that is none of the kernel's (--source), because for its own the kernel would
answer the SYN-ACK with RST. Without --by-hand a stream socket does the same, for
comparison.

Without a URL there is a private network with a server in it, and no root is needed.
With a URL it goes through this host's network: that needs CAP_NET_RAW and, by hand,
CAP_NET_ADMIN, because the source is routed to loopback for as long as it takes. By
hand it goes to addresses of this host only, unless --to-network says otherwise;
--source must have been routed to this host then.

Exit status: 0 echoed and closed, 1 the peer did something else, 2 wrong usage, 3 not
permitted, 6 refused, reset or unanswered.`,
		Example: `  finack socket connect --by-hand
  finack socket connect --by-hand --peer-closes-first
  sudo finack socket connect --by-hand tcp://127.0.0.1:7007`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.config(cmd, s, args)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return runScenario(cmd, s, &o.output, func(style *lab.Config) error {
					cfg.Config = *style
					return lab.Connect(cmd.Context(), s.out, cfg)
				})
			}
			if cfg.Elsewhere && cfg.ByHand {
				fmt.Fprintf(s.err, "finack: sending to %v, which is not this host; it must have a way to %v here\n", cfg.Remote, cfg.Source)
			}
			err = lab.Connect(cmd.Context(), s.out, cfg)
			if check := (*lab.CheckError)(nil); errors.As(err, &check) {
				return &statusError{exitCheck, err}
			}
			if errors.Is(err, privnet.ErrAddress) {
				return &statusError{exitUsage, fmt.Errorf("%w: name another by --source", err)}
			}
			if errors.Is(err, os.ErrPermission) {
				return needsPrivilege(fmt.Errorf("%w; without a URL no root is needed", err))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.byHand, "by-hand", false, "make every segment in user space and explain it")
	f.BoolVar(&o.peerCloses, "peer-closes-first", false, "wait for the peer's FIN before closing")
	f.IntVar(&o.size, "size", connectSize, "bytes of the message")
	f.StringVar(&o.message, "message", "", "the message itself")
	f.StringVar(&o.source, "source", "", "by hand: the `ADDRESS` to send from, none of this host's (default "+connectSource+")")
	f.BoolVar(&o.toNetwork, "to-network", false, "by hand: HOST may be another host; needs --source")
	o.styleFlags(cmd)
	cmd.MarkFlagsMutuallyExclusive("size", "message")
	return cmd
}

// config is what the flags and the URL say.
func (o *connectFlags) config(cmd *cobra.Command, s std, args []string) (*lab.ConnectConfig, error) {
	color, err := o.colored(s.out)
	if err != nil {
		return nil, err
	}
	cfg := &lab.ConnectConfig{
		Config: lab.Config{Color: color, JSON: o.json},
		ByHand: o.byHand, PeerCloses: o.peerCloses, Message: []byte(o.message),
	}
	if !cmd.Flags().Changed("message") {
		if o.size < 1 || o.size > maxConnectSize {
			return nil, usagef("--size %d: must be from 1 to %d", o.size, maxConnectSize)
		}
		cfg.Message = []byte(strings.Repeat("abcdefghijklmnopqrstuvwxyz", o.size/26+1)[:o.size])
	}
	if len(cfg.Message) == 0 || len(cfg.Message) > maxConnectSize {
		return nil, usagef("--message: must have from 1 to %d bytes", maxConnectSize)
	}
	source := o.source
	if source == "" {
		source = connectSource
	}
	if cfg.Source, err = netip.ParseAddr(source); err != nil || !cfg.Source.Is4() {
		return nil, usagef("--source %s: must be an IPv4 address", source)
	}
	if !o.byHand && (o.source != "" || o.toNetwork) {
		return nil, usagef("--source and --to-network mean something with --by-hand only")
	}
	if len(args) == 0 {
		return cfg, nil
	}
	return cfg, o.remote(cfg, args[0])
}

// remote adds what the URL says.
func (o *connectFlags) remote(cfg *lab.ConnectConfig, url string) error {
	eps, err := endpoints([]string{url})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(eps[0].Network, "tcp") {
		return usagef("%s: only TCP connects", url)
	}
	addr, err := net.ResolveTCPAddr(eps[0].Network, eps[0].Address) // of a name's addresses, IPv4 first
	if err != nil {
		return usagef("%s: %w", url, err)
	}
	ap := addr.AddrPort()
	if ap.Port() == 0 || !ap.Addr().IsValid() || ap.Addr().IsUnspecified() {
		return usagef("%s: must name a host and a port", url)
	}
	cfg.Remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	here, err := isHere(cfg.Remote.Addr())
	if err != nil {
		return err
	}
	cfg.Elsewhere = !here
	switch {
	case !o.byHand:
		return nil
	case !cfg.Remote.Addr().Is4():
		return usagef("%s: by hand it goes over IPv4", url)
	case !here && (!o.toNetwork || o.source == ""):
		return usagef("%s: is no address of this host: by hand that needs --to-network and --source, an address that is routed here", url)
	}
	return nil
}

// isHere reports whether addr is one of this host.
func isHere(addr netip.Addr) (bool, error) {
	if addr.IsLoopback() {
		return true, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(net.IP(addr.AsSlice())) {
			return true, nil
		}
	}
	return false, nil
}
