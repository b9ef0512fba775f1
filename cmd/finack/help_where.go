package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"finack/internal/where"
)

// newHelpWhere returns the help topic on the language of --where.
func newHelpWhere() *cobra.Command {
	return &cobra.Command{
		Use:   "where",
		Short: "The language of --where: which connections to show",
		Long:  whereHelp(),
	}
}

func whereHelp() string {
	var b strings.Builder
	b.WriteString(`read and watch --where EXPR print only the verdicts of connections and datagram
flows of which EXPR is true, and the summary counts only these:

  finack read trace.pcap --where 'state=CLOSE_WAIT and closed-by=client'
  finack read trace.pcap --where 'teardown=reset and not reset-by=client'
  finack read trace.pcap --where 'handshake=refused or rtt > 100ms'
  sudo finack watch --where 'host=10.0.0.0/8 and idle-before-close>=5s' tcp

A test is a field, =, !=, <, <=, > or >=, and a value. "and" (&&) binds closer
than "or" (||), "not" (!) closer than both; brackets group. This is unlike a
FILTER, in which "and" and "or" bind alike; a FILTER chooses packets, EXPR
connections, and both may be given. Upper case, lower case, -, _ and nothing
between the parts of a word are the same.

Where there are two values, as the states of both ends, = is true if one of them
is so, != if none is. Every test of a field that a connection does not have, as
the teardown of a UDP flow, is false, that with != too. A field alone is a test
where it is false or true: evicted. One marked with * alone is true where there
is one: not rtt.

A connection is judged by its account: when its teardown completes and at its
end; with --json, at its end. Its segments came before that and are not shown;
-w and --fixture write all packets.
`)
	value := ""
	for _, f := range where.Fields() {
		if f.Value != value {
			value = f.Value
			b.WriteString("\n" + wrap(value+":") + "\n")
		}
		name := f.Name
		if f.Optional {
			name += " *"
		}
		fmt.Fprintf(&b, "  %-20s %s\n", name, f.Help)
	}
	return b.String()
}

// wrap breaks text into lines of at most 80 columns.
func wrap(text string) string {
	var b strings.Builder
	col := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case col+1+len(word) > 80:
			b.WriteByte('\n')
			col = 0
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}
