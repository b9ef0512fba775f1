package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/pipeline"
	"finack/internal/sockview"
	"finack/raw"
)

// listener is what socket listen is told.
type listener struct {
	output
	which    socketFlags
	cfg      capture.SocketConfig
	compare  bool
	duration time.Duration
	both     bool // no domain was named: IPv4 and IPv6
}

func newSocketListen(s std) *cobra.Command {
	var l listener
	cmd := &cobra.Command{
		Use:   "listen [FILTER]",
		Short: "Trace what raw sockets with an explicit protocol hear, or compare what sockets see",
		Long: `listen opens SOCK_RAW sockets of one protocol, of AF_INET and AF_INET6 unless
--domain names one, and traces what they hear as watch does. FILTER is in
tcpdump's language.

Such a socket hears what arrives at this host and is delivered here, beside the
kernel's own use of it; on lo that is every packet, once. It does not hear what
this host sends on a real link, so that of each connection one direction is
missing there. Fragments come put together. Protocol 0 opens none, and
IPPROTO_RAW hears nothing but protocol 255. Of IPv6 the kernel gives no header:
it is rebuilt from what the kernel tells beside the packet (addresses, hop
limit, traffic class, flow label); extension headers are lost, and FILTER runs
in user space.

--domain packet listens on AF_PACKET instead, --type raw or dgram, with an
EtherType for a protocol; all, the default, hears both directions.

With --compare nothing is traced: a raw socket, an AF_PACKET socket of the IP
version and one of ETH_P_ALL count the same packets, and at the end a table says
what each saw of every connection, and why not the rest.

It needs CAP_NET_RAW (sudo, or setcap on the binary) and gives all privileges up
once its sockets are open. Ctrl-C ends it. Exit status 1: the kernel refuses
such a socket; 3: it is not permitted.`,
		Example: `  sudo finack socket listen --protocol tcp
  sudo finack socket listen --domain inet6 --protocol icmpv6 -v
  sudo finack socket listen --compare --for 10s -i eth0 port 443`,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.cfg.Filter = strings.Join(args, " ")
			if err := checkFilter(l.cfg.Filter); err != nil {
				return err
			}
			if err := l.parse(cmd); err != nil {
				return err
			}
			ctx := cmd.Context()
			if l.duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, l.duration)
				defer cancel()
			}
			if l.compare {
				return l.runComparison(ctx, s)
			}
			return l.run(ctx, s)
		},
	}
	l.flags(cmd)
	l.which.flags(cmd, "", "raw", "tcp")
	f := cmd.Flags()
	f.Lookup("domain").Usage = "inet, inet6 or packet (default both inet and inet6)"
	f.Lookup("type").Usage = "raw; of packet also dgram"
	f.StringVarP(&l.cfg.Interface, "interface", "i", "any", "only what arrives on the interface `NAME`")
	f.IntVarP(&l.cfg.Snaplen, "snapshot-length", "s", 0, "take `N` bytes of each packet (0: 262144)")
	f.IntVar(&l.cfg.Buffer, "buffer", 0, "receive buffer of `N` bytes (0: 8 MiB, cut to rmem_max)")
	f.BoolVar(&l.compare, "compare", false, "compare what three kinds of sockets see")
	f.DurationVar(&l.duration, "for", 0, "stop after `DURATION`, as in 10s (0: do not)")
	return cmd
}

// parse makes sockets of the flags.
func (l *listener) parse(cmd *cobra.Command) error {
	l.both = l.which.domain == ""
	if l.both {
		l.which.domain = "inet"
	}
	d, err := raw.ParseDomain(l.which.domain)
	packet := d == raw.AF_PACKET
	if err != nil || !packet && d != raw.AF_INET && d != raw.AF_INET6 {
		return usagef("socket listen --domain %s: must be inet, inet6 or packet", l.which.domain)
	}
	if packet && !cmd.Flags().Changed("protocol") {
		l.which.protocol = "all"
	}
	s, err := l.which.parse()
	if err != nil {
		return err
	}
	switch {
	case s.Type != raw.SOCK_RAW && !(packet && s.Type == raw.SOCK_DGRAM):
		return usagef("socket listen --type %s: only raw sockets, and dgram of packet, hear what is not sent to them", l.which.typ)
	case l.compare && packet:
		return usagef("socket listen --compare: compares packet sockets with raw ones already: --domain inet or inet6")
	case l.compare && l.write != "":
		return usagef("socket listen --compare: writes no packets: leave -w out")
	}
	l.cfg.Sockets = []raw.Socket{s}
	if l.both {
		six := raw.Socket{Domain: raw.AF_INET6, Type: s.Type, Protocol: s.Protocol}
		switch s.Protocol {
		case raw.IPPROTO_ICMP:
			six.Protocol = raw.IPPROTO_ICMPV6
		case raw.IPPROTO_ICMPV6:
			l.cfg.Sockets, l.which.domain = nil, "inet6" // IPv4 has none
		}
		l.cfg.Sockets = append(l.cfg.Sockets, six)
	}
	return nil
}

// open opens the sockets; without IPv6, those of IPv4 have to do unless IPv6
// was asked for.
func (l *listener) open(s std) (*capture.Socket, error) {
	src, err := capture.OpenSocket(&l.cfg)
	if l.both && len(l.cfg.Sockets) == 2 && errors.Is(err, syscall.EAFNOSUPPORT) {
		fmt.Fprintln(s.err, "finack: this host has no IPv6: only IPv4 is heard")
		l.cfg.Sockets = l.cfg.Sockets[:1]
		src, err = capture.OpenSocket(&l.cfg)
	}
	return src, l.refused(err)
}

// refused says what a socket's refusal means and gives it its exit status.
func (l *listener) refused(err error) error {
	for _, socket := range l.cfg.Sockets {
		op, ok := errors.AsType[*net.OpError](err)
		if !ok || op.Op != socket.String() {
			continue
		}
		if r, ok := raw.Refused(socket, err); ok && !r.Denied {
			return &statusError{exitCheck, fmt.Errorf("%w: %s", err, r.Meaning)}
		}
	}
	return needsPrivilege(err)
}

func (l *listener) run(ctx context.Context, s std) error {
	src, err := l.open(s)
	if err != nil {
		return err
	}
	defer src.Close()
	l.interfaceName = interfaceNames()
	cfg, done, err := l.prepare(s, uint32(l.cfg.Snaplen))
	if err != nil {
		return err
	}
	if err := dropPrivileges(s); err != nil {
		return err
	}
	cfg.Source, cfg.Live = src, true
	cfg.AllIfs = l.cfg.Sockets[0].Domain == raw.AF_PACKET && l.cfg.Interface == "any"
	told := make(map[string]bool)
	for _, socket := range src.Sockets() {
		for _, line := range unseen(socket) {
			if !told[line] {
				told[line] = true
				fmt.Fprintf(s.err, "finack: %s\n", line)
			}
		}
	}
	for _, socket := range src.Sockets() {
		fmt.Fprintf(s.err, "finack: listening on %v%s; Ctrl-C ends\n", socket, forFilter(l.cfg.Filter))
	}
	totals, err := pipeline.Run(ctx, cfg)
	if derr := done(); err == nil {
		err = derr
	}
	return l.conclude(s, &totals, err)
}

// unseen says what a socket does not see, in lines.
func unseen(s raw.Socket) []string {
	const outgoing = "not seen: what this host sends, except on lo"
	switch {
	case s.Domain == raw.AF_PACKET && s.Protocol == 0:
		return []string{"not seen: anything, before bind(2) gives the socket a protocol"}
	case s.Domain == raw.AF_PACKET && s.Protocol == raw.ETH_P_ALL:
		return nil
	case s.Domain == raw.AF_PACKET:
		return []string{outgoing}
	case s.Protocol == raw.IPPROTO_RAW:
		return []string{"not seen: anything but IP protocol 255; IPPROTO_RAW is for sending"}
	case s.Protocol > 255:
		return []string{"not seen: anything, as IP has no protocol of more than 8 bits"}
	}
	lines := []string{outgoing + "; fragments come put together"}
	if s.Domain == raw.AF_INET6 {
		lines = append(lines, "not seen: IPv6 headers; they are rebuilt, without extension headers")
	}
	return lines
}

func (l *listener) runComparison(ctx context.Context, s std) error {
	socket := l.cfg.Sockets[0]
	c, err := sockview.OpenComparison(&sockview.CompareConfig{
		Protocol: socket.Protocol, IPv6: socket.Domain == raw.AF_INET6,
		Interface: l.cfg.Interface, Filter: l.cfg.Filter, Buffer: l.cfg.Buffer, Packets: l.count,
	})
	if err != nil {
		l.cfg.Sockets = []raw.Socket{socket}
		return l.refused(err)
	}
	defer c.Close()
	if err := dropPrivileges(s); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "finack: comparing what sockets see%s; Ctrl-C ends\n", forFilter(l.cfg.Filter))
	if err := c.Run(ctx); err != nil {
		return err
	}
	var out []byte
	if l.json {
		out, err = c.AppendJSON(nil)
	} else {
		out = c.AppendText(nil)
	}
	if err != nil {
		return err
	}
	if _, err := s.out.Write(out); err != nil {
		return err
	}
	if n := c.Dropped(); n > 0 {
		fmt.Fprintf(s.err, "finack: %d packets lost by the sockets: their counts are too low\n", n)
		if l.strict {
			return &statusError{status: exitLost}
		}
	}
	return nil
}
