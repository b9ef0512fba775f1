package main

import (
	"github.com/spf13/cobra"

	"finack/internal/lab"
)

func newSocketDuplex(s std) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "duplex",
		Short: "Reads and writes on one socket at once, and half-close, shown; needs no root",
		Long: `duplex connects two TCP sockets in a private network, and two Unix sockets. On
each socket one goroutine writes and another reads, all at once and without a
lock, and every byte is checked. Then the client ends its direction with
shutdown(SHUT_WR), and the server goes on sending for a while. It shows how the
packets say so. Exit status 1 means that it was not so.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runScenario(cmd, s, &o, func(cfg *lab.Config) error {
				return lab.Duplex(cmd.Context(), s.out, cfg)
			})
		},
	}
	o.styleFlags(cmd)
	return cmd
}
