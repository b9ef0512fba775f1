package main

import (
	"github.com/spf13/cobra"
)

// newRoot returns the command tree.
func newRoot(s std) *cobra.Command {
	root := &cobra.Command{
		Use:   "finack",
		Short: "Watch TCP connections open and close: who closed, how, and where each end stands",
		Long: `finack follows every TCP connection from the first SYN to the last ACK, with the
RFC 9293 state of both ends, and says who closed first and how.

Exit status: 0 fine (also after Ctrl-C), 1 a check failed, 2 wrong usage, missing
file or interface, 3 not permitted, 4 damaged input, 5 packets lost under
--strict, 6 any other failure.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: see finack --help", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(newDemo(s), newWatch(s), newRead(s), newFilter(s), newCheck(s), newEcho(s), newSocket(s), newLab(s), newBench(s), newSchema(s), newHelpWhere())
	return root
}
