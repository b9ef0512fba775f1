package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"finack/decode"
	"finack/internal/pipeline"
	"finack/internal/render"
	"finack/internal/where"
	"finack/trace"
)

// choice holds the flags that choose what of a run is printed.
type choice struct {
	summary bool
	only    []string
	where   string

	shown     *shown // nil: everything
	predicate *where.Predicate
}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.summary, "summary", false, "print the summary alone")
	f.StringSliceVar(&c.only, "only", nil, "print only these `TYPES`: "+strings.Join(typeNames(), ", "))
	f.StringVar(&c.where, "where", "", "print only the verdicts of connections of which `EXPR` is true: see finack help where")
	mustRegister(cmd, "only", func(text string) (whole []string) {
		head := text[:strings.LastIndexByte(text, ',')+1]
		for _, name := range typeNames() {
			whole = append(whole, head+name)
		}
		return whole
	})
	mustRegister(cmd, "where", where.Complete)
}

// mustRegister has the shell complete a flag's value.
func mustRegister(cmd *cobra.Command, flag string, complete func(text string) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		return complete(text), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	if err != nil {
		panic(err) // there is no such flag
	}
}

// parse looks at the flags, before anything is opened.
func (c *choice) parse(cmd *cobra.Command) error {
	allowed := trace.AllKinds
	if cmd.Flags().Changed("where") {
		var err error
		if c.predicate, err = where.Parse(c.where); err != nil {
			return usagef("--where: %w", err)
		}
		allowed = withVerdict
	}
	only := c.only
	switch {
	case c.summary && cmd.Flags().Changed("only"):
		return usagef("--summary and --only: want one of them")
	case c.summary:
		only = []string{"summary"}
	case !cmd.Flags().Changed("only"):
		return nil
	}
	var err error
	c.shown, err = newShown(only, allowed)
	return err
}

// apply makes a pipeline print what is chosen.
func (c *choice) apply(cfg *pipeline.Config, json bool) {
	if json {
		cfg.Hide = trace.KindsOf(trace.ConnClosed) // the object comes at the release
	}
	if c.predicate != nil {
		cfg.Where = c.predicate.Match
		cfg.Hide |= trace.AllKinds &^ withVerdict // what was before the verdict is known
	}
	if c.shown != nil {
		cfg.Hide |= trace.AllKinds &^ c.shown.kinds
		c.shown.Renderer = cfg.Renderer
		cfg.Renderer = c.shown
	}
}

// withVerdict are the kinds of event that have one.
const withVerdict = trace.Kinds(1<<trace.ConnClosed | 1<<trace.ConnReleased)

// A shownType is a type of what --json prints, of which text has lines, too.
type shownType struct {
	name  string
	kinds trace.Kinds // the events that it is made of
}

func shownTypes() []shownType {
	return []shownType{
		{"segment", trace.KindsOf(trace.SegmentSeen)},
		{"transition", trace.KindsOf(trace.StateChanged)},
		{"datagram", trace.KindsOf(trace.DatagramSeen, trace.ICMPSeen)},
		{"anomaly", trace.KindsOf(trace.AnomalySeen)},
		{"connection", withVerdict},
		{"datagram_flow", withVerdict},
		{"summary", 0},
	}
}

func typeNames() []string {
	var names []string
	for _, t := range shownTypes() {
		names = append(names, t.name)
	}
	return names
}

// shown renders some types alone. The kinds that make none of them do not come
// to it; those with a verdict make two.
type shown struct {
	pipeline.Renderer
	kinds                trace.Kinds
	conns, flows, totals bool
}

// newShown returns a renderer of the types of these names; all must be among
// the allowed kinds.
func newShown(names []string, allowed trace.Kinds) (*shown, error) {
	if len(names) == 0 {
		return nil, usagef("--only: want %s", strings.Join(typeNames(), ", "))
	}
	s := &shown{
		conns:  slices.Contains(names, "connection"),
		flows:  slices.Contains(names, "datagram_flow"),
		totals: slices.Contains(names, "summary"),
	}
	for _, name := range names {
		i := slices.IndexFunc(shownTypes(), func(t shownType) bool { return t.name == name })
		if i < 0 {
			return nil, usagef("--only %s: want %s", name, strings.Join(typeNames(), ", "))
		}
		kinds := shownTypes()[i].kinds
		if kinds&^allowed != 0 {
			return nil, usagef("--only %s: with --where there are only connection, datagram_flow and summary", name)
		}
		s.kinds |= kinds
	}
	return s, nil
}

// AppendEvent implements pipeline.Renderer.
func (s *shown) AppendEvent(dst []byte, e *trace.Event) []byte {
	if e.Verdict != nil && !s.account(e.Verdict) {
		return dst
	}
	return s.Renderer.AppendEvent(dst, e)
}

// AppendConn implements pipeline.Renderer.
func (s *shown) AppendConn(dst []byte, c *trace.Conn) []byte {
	if !s.account(c) {
		return dst
	}
	return s.Renderer.AppendConn(dst, c)
}

// account reports whether the account of a connection or flow is shown.
func (s *shown) account(c *trace.Conn) bool {
	if c.Proto == decode.ProtoTCP {
		return s.conns
	}
	return s.flows
}

// AppendTotals implements pipeline.Renderer.
func (s *shown) AppendTotals(dst []byte, t *render.Totals) []byte {
	if !s.totals {
		return dst
	}
	return s.Renderer.AppendTotals(dst, t)
}
