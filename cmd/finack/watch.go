package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/pipeline"
)

func newWatch(s std) *cobra.Command {
	var o output
	var live capture.LiveConfig
	cmd := &cobra.Command{
		Use:   "watch [FILTER]",
		Short: "Trace connections live",
		Long: `watch traces the connections on an interface, or on all: handshakes, teardowns,
resets, and the first datagrams of each exchange. Ctrl-C ends it with a summary.
It needs CAP_NET_RAW (sudo, or setcap on the binary) and gives all privileges up
once its socket is open. FILTER is in tcpdump's language; --where chooses
connections as FILTER chooses packets: see finack help where.

--lifecycle makes a large transfer cost next to nothing to watch: the kernel
passes only TCP segments with SYN, FIN or RST, those without payload, and ICMP;
of tunnels, MPLS, PPPoE, inner VLAN tags, IPv6 extension headers and first
fragments all; no other UDP. States and verdicts are the same; bytes come from
sequence numbers, and each counts once (JSON: "data_unseen":true). What only data
tells is missing: the idle time before the close, most retransmissions, Zeek's
letters of data. Where data may have acknowledged a FIN, the states and the kind
of the teardown are unknown until another segment tells, and sometimes then.`,
		Example: `  sudo finack watch
  sudo finack watch -i eth0 'tcp port 443 and host 10.0.0.1'
  sudo finack watch --where 'teardown=reset or handshake=refused'
  sudo finack watch --lifecycle -i eth0 'tcp port 443'
  sudo finack watch -w today.pcapng --json tcp`,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter := strings.Join(args, " ")
			live.Filter = o.filter(filter)
			if err := o.parse(cmd); err != nil {
				return err
			}
			if err := checkFilter(filter); err != nil {
				return err
			}
			if live.Interface == "" {
				live.Interface = "any"
			}
			src, err := capture.OpenLive(&live)
			if err != nil {
				return needsPrivilege(err)
			}
			defer src.Close()
			o.interfaceName = interfaceNames()
			cfg, done, err := o.prepare(s, uint32(live.Snaplen))
			if err != nil {
				return err
			}
			if err := dropPrivileges(s); err != nil {
				return err
			}
			cfg.Source, cfg.Live, cfg.AllIfs = src, true, live.Interface == "any"
			fmt.Fprintf(s.err, "finack: watching %s%s; Ctrl-C ends\n", live.Interface, forFilter(filter))
			totals, err := pipeline.Run(cmd.Context(), cfg)
			if derr := done(); err == nil {
				err = derr
			}
			return o.conclude(s, &totals, err)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&live.Interface, "interface", "i", "any", "watch the interface `NAME`")
	f.BoolVar(&live.Promiscuous, "promiscuous", false, "also take frames for other hosts (needs -i)")
	f.IntVarP(&live.Snaplen, "snapshot-length", "s", 0, "take `N` bytes of each frame (0: 262144)")
	return cmd
}

func forFilter(filter string) string {
	if filter == "" {
		return ""
	}
	return " for " + filter
}

// needsPrivilege makes a refusal name this program, so that the line can be pasted.
func needsPrivilege(err error) error {
	self, perr := os.Executable()
	if perr != nil || exitStatus(err) != exitDenied {
		return err
	}
	return &statusError{exitDenied, errors.New(strings.ReplaceAll(err.Error(), "PROGRAM", self))}
}
