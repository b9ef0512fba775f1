package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"finack/internal/lab"
	"finack/internal/privnet"
)

func newDemo(s std) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Open, echo and close TCP, UDP and Unix sockets, every packet traced; needs no root",
		Long: `demo makes a private network and, in it, opens stream, datagram, Unix and raw
sockets beside each other. It shows two four-step teardowns, one of three steps
and a UDP exchange packet by packet, with the state of both ends, and compares
what each cost. It takes about a second. Exit status 1 means that the kernel did
something else than what is shown.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runScenario(cmd, s, &o, func(cfg *lab.Config) error {
				return lab.Demo(cmd.Context(), s.out, cfg)
			})
		},
	}
	cmd.Flags().StringVar(&o.color, "color", "auto", "colour: auto, always or never")
	return cmd
}

// runScenario runs a scenario in a private network, as a command's last act: the
// program runs again there.
func runScenario(cmd *cobra.Command, s std, o *output, scenario func(*lab.Config) error) error {
	color, err := o.colored(s.out)
	if err != nil {
		return err
	}
	if !privnet.Inside() {
		status, err := privnet.Run()
		if err != nil {
			return fmt.Errorf("%w (sudo %s)", err, cmd.CommandPath())
		}
		return silent(status)
	}
	if err := privnet.Setup(); err != nil {
		return err
	}
	err = scenario(&lab.Config{Color: color, JSON: o.json})
	if check := (*lab.CheckError)(nil); errors.As(err, &check) {
		return &statusError{exitCheck, err}
	}
	return err
}

// silent is the status of a child that has said itself what is to be said.
func silent(status int) error {
	if status == exitOK {
		return nil
	}
	return &statusError{status: status}
}

// usageArgs makes the complaints of a cobra check usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%w: see %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}
