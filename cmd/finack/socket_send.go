package main

import (
	"bufio"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"finack/internal/craft"
	"finack/internal/privnet"
	"finack/internal/probe"
	"finack/internal/render"
)

func newSocketSend(s std) *cobra.Command {
	var (
		req       probe.Request
		out       output
		toNetwork bool
	)
	cmd := &cobra.Command{
		Use:   "send TARGET",
		Short: "Send packets made by hand and show what answers them",
		Long: `send makes packets field by field, sends them through a raw socket and shows
what answers: a segment, a datagram, an echo reply, or an ICMP error that quotes
them. Times are the kernel's, of the packets on the wire. TARGET is
tcp://ADDRESS:PORT, udp://ADDRESS:PORT, icmp://ADDRESS (an echo request) or
ip://ADDRESS with --protocol. Names are not resolved.

What is not said is chosen: the source address by the route; source port,
sequence number and identifiers at random. Of several packets the source ports
count up, unless --source has one; so do ICMP's sequence numbers.

The kernel knows nothing of a connection made by hand: it answers the SYN+ACK
with a RST, which is shown. It computes an IPv4 header's checksum itself
(raw(7)): only --dry-run shows a wrong one.

Nothing is sent that leaves this host, or is answered elsewhere, unless
--to-network is given, and no more than 100 packets a second; in a private
network anything goes. A run has 10000 packets at most. It needs CAP_NET_RAW
(sudo, or setcap on the binary); --dry-run needs nothing.`,
		Example: `  sudo finack socket send tcp://127.0.0.1:80
  sudo finack socket send tcp://[::1]:80 --flags FIN,PSH,URG --count 3
  sudo finack socket send udp://127.0.0.1:7 --size 4000 --fragment 576
  finack socket send tcp://10.0.0.2:80 --options 'mss 1460,sackOK' --dry-run`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Target, req.Said = args[0], cmd.Flags().Changed
			cfg, err := req.Config()
			if err != nil {
				return &statusError{exitUsage, err}
			}
			if req.DryRun {
				return dumpPackets(s, cfg)
			}
			return sendPackets(cmd, s, cfg, &out, toNetwork)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&req.Flags, "flags", "SYN", "`FLAGS`: FIN,ACK or F. or 0x29 or none")
	f.Uint32Var(&req.Seq, "seq", 0, "sequence `NUMBER` of TCP (random) or ICMP (from 1)")
	f.Uint32Var(&req.Ack, "ack", 0, "acknowledgment `NUMBER`")
	f.Uint16Var(&req.Window, "window", 64240, "window in `BYTES`, as sent")
	f.StringVar(&req.Options, "options", "", "TCP `OPTIONS`: mss N,wscale N,sackOK,sack A:B,\nTS val N ecr N,FO [COOKIE],nop,eol,KIND:HEX")
	f.Uint16Var(&req.Urgent, "urgent", 0, "urgent `POINTER`")
	f.StringVar(&req.Sum, "checksum", "right", "`KIND`: right, wrong or zero")
	f.StringVar(&req.Source, "source", "", "`ADDRESS`, ADDRESS:PORT or :PORT to send from")
	f.Uint8Var(&req.TTL, "ttl", 64, "time to live, or hop limit: `HOPS`")
	f.Uint8Var(&req.TOS, "tos", 0, "type of service, or traffic class: `BYTE`")
	f.Uint16Var(&req.ID, "id", 0, "IPv4 identification `NUMBER` (random)")
	f.BoolVar(&req.DF, "df", false, "IPv4: don't fragment")
	f.Uint32Var(&req.FlowLabel, "flow-label", 0, "IPv6 flow label `NUMBER`")
	f.StringVar(&req.IPSum, "ip-checksum", "right", "`KIND` of the IPv4 header's")
	f.Uint8Var(&req.Protocol, "protocol", 0, "of ip://: the payload's IP protocol `NUMBER`")
	f.StringVar(&req.Text, "payload", "", "payload: `TEXT`")
	f.StringVar(&req.Hex, "payload-hex", "", "payload: `BYTES` in hexadecimal")
	f.StringVar(&req.File, "payload-file", "", "payload: what `FILE` holds")
	f.IntVar(&req.Size, "size", 0, "payload: `N` bytes that count up from 0")
	f.IntVar(&req.MTU, "fragment", 0, "send fragments of at most `MTU` bytes")
	f.IntVarP(&req.Count, "count", "c", 1, "number of packets")
	f.DurationVar(&req.Interval, "interval", time.Second, "time between packets")
	f.DurationVar(&req.Timeout, "timeout", time.Second, "how long to wait for the last answer")
	f.BoolVar(&req.NoWait, "no-wait", false, "do not listen for answers")
	f.BoolVar(&req.DryRun, "dry-run", false, "print the packets' fields and bytes, send nothing")
	f.BoolVar(&toNetwork, "to-network", false, "also send what leaves this host")
	f.BoolVar(&out.json, "json", false, "print JSON Lines")
	f.StringVar(&out.color, "color", "auto", "colour: auto, always or never")
	return cmd
}

// dumpPackets prints what would be sent.
func dumpPackets(s std, cfg *probe.Config) error {
	w := bufio.NewWriter(s.out)
	for n := range cfg.Count {
		fragments, err := cfg.Build(n)
		if err != nil {
			return err
		}
		for i, b := range fragments {
			if len(fragments) > 1 {
				fmt.Fprintf(w, "packet %d, fragment %d of %d: %d bytes\n", n+1, i+1, len(fragments), len(b))
			} else {
				fmt.Fprintf(w, "packet %d: %d bytes\n", n+1, len(b))
			}
			if _, err := w.Write(craft.AppendDump(nil, b)); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// sendPackets sends them and prints what comes of it.
func sendPackets(cmd *cobra.Command, s std, cfg *probe.Config, out *output, toNetwork bool) error {
	color, err := out.colored(s.out)
	if err != nil {
		return err
	}
	policy := probe.Policy{Private: privnet.Inside(), ToNetwork: toNetwork}
	if err := policy.Check(cfg); err != nil {
		return &statusError{exitUsage, err}
	}
	if policy.Leaves(cfg) {
		fmt.Fprintf(s.err, "finack: sending to %v over the network: have its owner's consent\n", cfg.IP.Dst)
	}
	p, err := probe.Open(cfg)
	if err != nil {
		return needsPrivilege(err)
	}
	defer p.Close()
	if err := dropPrivileges(s); err != nil {
		return err
	}
	var lines interface {
		AppendEvent(dst []byte, e *probe.Event) []byte
		AppendResult(dst []byte, r *probe.Result) []byte
	} = &probe.Text{Lines: render.Text{Color: color, Location: time.Local}}
	if out.json {
		lines = probe.JSON{}
	}
	res, err := p.Run(cmd.Context(), func(e *probe.Event) error {
		_, err := s.out.Write(lines.AppendEvent(nil, e))
		return err
	})
	if res.Sent > 0 {
		if _, werr := s.out.Write(lines.AppendResult(nil, res)); err == nil {
			err = werr
		}
	}
	if errors.Is(err, probe.ErrBroadcast) || errors.Is(err, probe.ErrMTU) {
		return &statusError{exitUsage, err}
	}
	return err
}
