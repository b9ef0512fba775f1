package main

import (
	"io"

	"github.com/spf13/cobra"

	"finack/internal/render"
)

func newSchema(s std) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of --json",
		Long: `schema prints the JSON Schema (draft 2020-12) that every line of read,
watch, check, lab, socket and echo compare with --json follows.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(s.out, render.Schema)
			return err
		},
	}
}
