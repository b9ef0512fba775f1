package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/net/bpf"

	"finack/decode"
	"finack/internal/pcapfilter"
)

func newFilter(s std) *cobra.Command {
	var link string
	var live bool
	var form int
	cmd := &cobra.Command{
		Use:   "filter EXPRESSION…",
		Short: "Print the program that a filter expression becomes",
		Long: `filter prints the BPF program of an expression in tcpdump's filter language,
pcap-filter(7), as tcpdump -d does: the one that read runs on frames of a link
type, or with --live the one that watch gives the kernel. -dd prints it as C,
-ddd as decimal numbers.

Numbers and addresses only: names of hosts are never resolved.`,
		Example: `  finack filter 'tcp port 80 and host 10.0.0.1'
  finack filter -y LINUX_SLL2 'inbound and tcp[tcpflags] & tcp-fin != 0'
  finack filter --live 'vlan 100 and tcp'`,
		RunE: func(_ *cobra.Command, args []string) error {
			expr := strings.Join(args, " ")
			code, err := program(expr, link, live)
			if err != nil {
				return err
			}
			_, err = io.WriteString(s.out, listing(code, form))
			return err
		},
	}
	cmd.Flags().StringVarP(&link, "link", "y", decode.LinkEthernet.String(), "for frames of the link type `NAME`")
	cmd.Flags().BoolVar(&live, "live", false, "for the kernel, any link type")
	cmd.Flags().CountVarP(&form, "dump", "d", "as tcpdump: -d text, -dd C, -ddd numbers")
	cmd.MarkFlagsMutuallyExclusive("link", "live")
	_ = cmd.RegisterFlagCompletionFunc("link", func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		return linkNames(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// program compiles an expression for a link type, or for the kernel.
func program(expr, link string, live bool) ([]bpf.RawInstruction, error) {
	filter, err := pcapfilter.Parse(expr)
	if err != nil {
		return nil, fmt.Errorf("parse filter: %w", err)
	}
	if live {
		return filter.Live(0)
	}
	for _, l := range linkTypes() {
		if strings.EqualFold(link, l.String()) {
			prog, err := filter.ForLink(uint16(l))
			if err != nil {
				return nil, err
			}
			return prog.Instructions(), nil
		}
	}
	return nil, usagef("--link %s: unknown link type: one of %s", link, strings.Join(linkNames(), ", "))
}

// linkTypes are the link types that frames can be filtered on; of those with
// the same name, one.
func linkTypes() []decode.LinkType {
	return []decode.LinkType{
		decode.LinkEthernet, decode.LinkSLL, decode.LinkSLL2, decode.LinkRaw, decode.LinkIPv4, decode.LinkIPv6,
		decode.LinkNull, decode.LinkLoop, decode.LinkPPP, decode.LinkARCNET, decode.LinkIPoIB,
	}
}

func linkNames() (names []string) {
	for _, l := range linkTypes() {
		names = append(names, l.String())
	}
	return names
}

// listing prints a program in one of tcpdump's forms.
func listing(code []bpf.RawInstruction, form int) string {
	var b strings.Builder
	switch form {
	case 0, 1:
		return pcapfilter.Listing(code)
	case 2:
		for _, in := range code {
			fmt.Fprintf(&b, "{ %#x, %d, %d, 0x%08x },\n", in.Op, in.Jt, in.Jf, in.K)
		}
	default:
		fmt.Fprintln(&b, len(code))
		for _, in := range code {
			fmt.Fprintln(&b, in.Op, in.Jt, in.Jf, in.K)
		}
	}
	return b.String()
}
