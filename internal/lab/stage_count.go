package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/trace"
)

// counts is how many connections a host has in each state. A listener is none.
type counts map[trace.State]int

// tally is how many connections both hosts have at a moment, by their kernels.
type tally struct {
	What   string         `json:"moment"`
	Client map[string]int `json:"client"`
	Server map[string]int `json:"server"`
	text   [2]string
}

// count waits until the hosts' kernels have so many connections, and notes it.
// The longest text is 23 characters.
func (s *stage) count(what string, client, server counts) error {
	var got [2]counts
	err := await(s.ctx, stagePatience, func() error {
		for i, h := range []*privnet.Host{s.client, s.server} {
			list, err := s.sockets(h)
			if err != nil {
				return err
			}
			got[i] = countsOf(list)
		}
		if !maps.Equal(got[trace.Client], client) || !maps.Equal(got[trace.Server], server) {
			return checkf("%s: the client's host has %v, the server's %v; want %v and %v", what, got[trace.Client], got[trace.Server], client, server)
		}
		return nil
	})
	s.tallies = append(s.tallies, tally{
		what, got[trace.Client].byName(), got[trace.Server].byName(),
		[2]string{got[trace.Client].String(), got[trace.Server].String()},
	})
	return err
}

// countsOf counts connections.
func countsOf(list []kernel.Socket) counts {
	c := counts{}
	for i := range list {
		if list[i].State != trace.Listen {
			c[list[i].State]++
		}
	}
	return c
}

// String returns "5 ESTABLISHED, 20 TIME_WAIT", in the order of a connection's life.
func (c counts) String() string {
	if len(c) == 0 {
		return "none"
	}
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, strconv.Itoa(c[state])+" "+state.String())
	}
	return strings.Join(parts, ", ")
}

// byName returns the counts as JSON has them.
func (c counts) byName() map[string]int {
	m := map[string]int{}
	for state, n := range c {
		m[state.String()] = n
	}
	return m
}

// appendTallies appends the counts as a table.
func (s *stage) appendTallies(dst []byte) []byte {
	if len(s.tallies) == 0 {
		return dst
	}
	dst = append(dst, ` Connections of each host, by its kernel (sock_diag):
                         client                     server
`...)
	for i := range s.tallies {
		t := &s.tallies[i]
		dst = fmt.Appendf(dst, " %-23s %-26s %s\n", t.What, t.text[trace.Client], t.text[trace.Server])
	}
	return append(dst, '\n')
}

// inState returns a host's sockets of one state.
func (s *stage) inState(h *privnet.Host, state trace.State) ([]kernel.Socket, error) {
	list, err := s.sockets(h)
	return slices.DeleteFunc(list, func(k kernel.Socket) bool { return k.State != state }), err
}
