package main

import "github.com/spf13/cobra"

func newSocket(s std) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "socket",
		Short: "Any socket(domain, type, protocol): open it, listen on it, send and connect by hand",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: see finack socket --help", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(
		newSocketBacklog(s), newSocketConnect(s), newSocketDuplex(s), newSocketListen(s), newSocketOpen(s), newSocketSend(s),
	)
	return cmd
}
