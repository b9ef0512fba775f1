package main

import (
	"os"

	"github.com/spf13/cobra"

	"finack/internal/lab"
)

func newLab(s std) *cobra.Command {
	var (
		o      output
		all    bool
		record string
	)
	cmd := &cobra.Command{
		Use:   "lab [NAME…]",
		Short: "Make the cases of a connection's life happen, and show them; needs no root",
		Long: `lab lists its scenarios. With names, or --all, it makes them happen on real
sockets of two hosts in a private network, and shows each: why it happens in
life, every packet with the states that it proves, both ends' states beside the
kernel's own, the verdict, and the cure. Exit status 1 means that the kernel did
something else than a scenario says.`,
		Example: `  finack lab
  finack lab three-way lost-fin
  finack lab --all --record recordings`,
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
			for _, sc := range lab.Scenarios() {
				names = append(names, cobra.CompletionWithDesc(sc.Name, sc.Title))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []*lab.Scenario
			switch {
			case all && len(args) > 0:
				return usagef("--all and names: want one of them")
			case all:
				list = lab.Scenarios()
			case len(args) == 0:
				return lab.List(s.out)
			default:
				var err error
				if list, err = lab.Find(args); err != nil {
					return usagef("%w", err)
				}
			}
			if record != "" {
				if err := os.MkdirAll(record, 0o777); err != nil {
					return err
				}
			}
			return runScenario(cmd, s, &o, func(cfg *lab.Config) error {
				cfg.Record = record
				return lab.Run(cmd.Context(), s.out, list, cfg)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "run all scenarios")
	cmd.Flags().StringVar(&record, "record", "", "keep the packets of each scenario in `DIR`: pcapng, fixture and JSON Lines")
	o.styleFlags(cmd)
	return cmd
}
