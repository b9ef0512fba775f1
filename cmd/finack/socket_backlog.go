package main

import (
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"finack/internal/lab"
)

func newSocketBacklog(s std) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "backlog [N…]",
		Short: "What listen(2) does with its backlog, shown; needs no root",
		Long: `backlog listens with each backlog N (0, 1, 5, 128 and -1 unless told) in a
private network, accepts nothing and has more clients connect than fit. It shows
how many the kernel connects, how many are left in SYN_SENT and send their SYN
again, and what the kernel counts; then it accepts one connection, and a client
that has waited gets in. It takes two or three seconds. Exit status 1 means that
it was not min(N, somaxconn)+1.`,
		Example: `  finack socket backlog
  finack socket backlog 10 5000
  finack socket backlog -- -1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			backlogs := []int{0, 1, 5, 128, -1}
			if len(args) > 0 {
				backlogs = nil
			}
			for _, arg := range args {
				n, err := strconv.Atoi(arg)
				if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
					return usagef("backlog %s: must be a 32-bit number", arg)
				}
				backlogs = append(backlogs, n)
			}
			return runScenario(cmd, s, &o, func(cfg *lab.Config) error {
				return lab.Backlog(cmd.Context(), s.out, backlogs, cfg)
			})
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see %s --help (a number below zero goes behind --)", err, cmd.CommandPath())
	})
	o.styleFlags(cmd)
	return cmd
}
