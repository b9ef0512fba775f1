package main

import (
	"os"

	"github.com/spf13/cobra"

	"finack/internal/sockview"
	"finack/raw"
)

// socketFlags name a socket.
type socketFlags struct{ domain, typ, protocol string }

func (f *socketFlags) flags(cmd *cobra.Command, domain, typ, protocol string) {
	fl := cmd.Flags()
	fl.StringVar(&f.domain, "domain", domain, "unix, inet, inet6, packet, or a number")
	fl.StringVar(&f.typ, "type", typ, "stream, dgram, seqpacket, raw, or a number")
	fl.StringVar(&f.protocol, "protocol", protocol, "as in tcp or 6; of packet as in all or 0x0800")
}

func (f *socketFlags) parse() (s raw.Socket, err error) {
	if s.Domain, err = raw.ParseDomain(f.domain); err == nil {
		if s.Type, err = raw.ParseType(f.typ); err == nil {
			s.Protocol, err = raw.ParseProtocol(s.Domain, f.protocol)
		}
	}
	if err != nil {
		return s, &statusError{exitUsage, err}
	}
	return s, nil
}

func newSocketOpen(s std) *cobra.Command {
	var (
		which      socketFlags
		table, js  bool
		everything = []string{"domain", "type", "protocol"}
	)
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Open a socket and say what it is, or why the kernel refuses it",
		Long: `open calls socket(domain, type, protocol) with exactly these arguments, and
prints the call, what such a socket sees, which privilege it needs, and its
options. When the kernel refuses it, open prints the errno, what it means here,
and what helps. With --table it asks for every domain and type with the usual
protocols.

The kernel's answer is the result, on stdout in both cases. The exit status says
which it was: 0 a socket, 3 refused for want of a privilege (EPERM, EACCES), 1
any other errno. --table exits with 0 whatever its cells say.`,
		Example: `  sudo finack socket open --domain inet --type raw --protocol tcp
  finack socket open --domain AF_INET6 --type SOCK_DGRAM --protocol IPPROTO_UDP
  finack socket open --table`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			var out []byte
			var result error
			if table {
				for _, name := range everything {
					if cmd.Flags().Changed(name) {
						return usagef("socket open: --table shows every socket: leave --%s out", name)
					}
				}
				t, err := sockview.NewTable()
				if err != nil {
					return err
				}
				if js {
					out, err = t.AppendJSON(nil, self)
				} else {
					out = t.AppendText(nil)
				}
				if err != nil {
					return err
				}
			} else {
				socket, err := which.parse()
				if err != nil {
					return err
				}
				a, err := sockview.Ask(socket)
				if err != nil {
					return err
				}
				if js {
					out, err = a.AppendJSON(nil, self)
				} else {
					out = a.AppendText(nil, self)
				}
				if err != nil {
					return err
				}
				switch {
				case a.Opened():
				case a.Refusal.Denied:
					result = &statusError{status: exitDenied}
				default:
					result = &statusError{status: exitCheck}
				}
			}
			if _, err := s.out.Write(out); err != nil {
				return err
			}
			return result
		},
	}
	which.flags(cmd, "inet", "stream", "0")
	cmd.Flags().BoolVar(&table, "table", false, "every domain and type, with the usual protocols")
	cmd.Flags().BoolVar(&js, "json", false, "print JSON Lines")
	return cmd
}
