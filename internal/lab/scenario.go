package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"finack/internal/privnet"
	"finack/internal/render"
)

// Scenario is a case of a connection's life, made to happen on real sockets of
// two hosts: the client's and the server's, with a wire between them. It says
// itself what must come of it, and fails where the kernel does something else.
type Scenario struct {
	Name  string // on the command line: lower case, with hyphens
	Title string // what happens, in at most 60 characters
	Life  string // why it happens in life
	Cure  string // what to do about it; "": nothing is wrong

	wire   []privnet.Rule // what the wire does to the frames
	onLo   bool           // the client's host talks to itself: its loopback is captured, not the wire
	silent bool           // nothing is on the wire: there are no packets to show or to keep
	wait   time.Duration  // for each thing that must come; 0: stagePatience
	run    func(s *stage) error
}

// Scenarios returns all scenarios, in the order of a connection's life.
func Scenarios() []*Scenario {
	return slices.Concat(openings(), closes(), production(), oddities(), datagrams())
}

// Find returns the scenarios of these names, in that order.
func Find(names []string) ([]*Scenario, error) {
	all := Scenarios()
	list := make([]*Scenario, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(all, func(sc *Scenario) bool { return sc.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no scenario %q: finack lab lists them", name)
		}
		list = append(list, all[i])
	}
	return list, nil
}

// List writes the names and titles of the scenarios.
func List(w io.Writer) error {
	var buf []byte
	for _, sc := range Scenarios() {
		buf = fmt.Appendf(buf, "%-24s %s\n", sc.Name, sc.Title)
	}
	_, err := w.Write(buf)
	return err
}

// scenarioResult is a scenario as JSON has it, behind its connections.
type scenarioResult struct {
	Type  string   `json:"type"`
	Name  string   `json:"name"`
	Title string   `json:"title"`
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Ends  []moment `json:"ends,omitempty"`
	Count []tally  `json:"counts,omitempty"`
	Seen  []string `json:"seen,omitempty"` // what was seen beside the packets
}

// Run makes scenarios happen one after the other, and shows each. It must run in
// a private network. What the kernel did otherwise than a scenario says is told
// there and is a *CheckError at the end; any other error ends the run.
func Run(ctx context.Context, w io.Writer, scenarios []*Scenario, cfg *Config) error {
	if cfg == nil {
		cfg = &Config{}
	}
	var failed []string
	for _, sc := range scenarios {
		err := sc.show(ctx, w, cfg)
		if failure := (*CheckError)(nil); errors.As(err, &failure) {
			failed = append(failed, sc.Name)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("scenario %s: %w", sc.Name, err)
		}
	}
	if len(scenarios) > 1 && !cfg.JSON {
		if _, err := fmt.Fprintf(w, "%d scenarios, %d went otherwise\n", len(scenarios), len(failed)); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return checkf("%d of %d scenarios went otherwise: %s", len(failed), len(scenarios), strings.Join(failed, ", "))
	}
	return nil
}

// show runs a scenario and writes what came of it.
func (sc *Scenario) show(ctx context.Context, w io.Writer, cfg *Config) error {
	s := &stage{ctx: ctx, sc: sc, cfg: cfg, text: render.Text{Color: cfg.Color}}
	err := s.perform()
	failure := (*CheckError)(nil)
	if err != nil && !errors.As(err, &failure) {
		return err
	}
	if err := s.appendJSON(failure); err != nil {
		return err
	}
	out := s.json.Bytes()
	if !cfg.JSON {
		out = s.appendText(nil, failure)
	}
	if _, err := w.Write(out); err != nil {
		return err
	}
	if cfg.Record != "" && failure == nil {
		return s.keep()
	}
	if failure != nil {
		return failure
	}
	return nil
}

// appendJSON puts the scenario's own line behind its connections'.
func (s *stage) appendJSON(failure *CheckError) error {
	r := scenarioResult{Type: "scenario", Name: s.sc.Name, Title: s.sc.Title, OK: failure == nil, Ends: s.moments, Count: s.tallies, Seen: s.seen}
	if failure != nil {
		r.Error = failure.Text
	}
	return json.NewEncoder(&s.json).Encode(&r)
}

// The labels of what a scenario says, and the column of the text behind them.
const labelColumn = 10

// appendText appends a scenario as text: why, what happened, and the cure.
func (s *stage) appendText(dst []byte, failure *CheckError) []byte {
	dst = s.text.AppendHeading(dst, s.sc.Name+": "+s.sc.Title)
	dst = appendLabelled(dst, "In life", s.sc.Life)
	dst = append(dst, '\n')
	dst = s.appendExpected(dst)
	dst = s.appendMoments(dst)
	dst = s.appendTallies(dst)
	for _, line := range s.seen {
		dst = appendLabelled(dst, "Seen", line)
	}
	if failure != nil {
		dst = appendLabelled(dst, "FAILED", failure.Text)
	}
	if s.sc.Cure != "" {
		dst = appendLabelled(dst, "Cure", s.sc.Cure)
	}
	return append(dst, '\n')
}

// appendLabelled appends a text behind its label: each of its lines is wrapped.
func appendLabelled(dst []byte, label, text string) []byte {
	at := len(dst)
	for line := range strings.Lines(text) {
		dst = appendWrapped(dst, labelColumn, line)
	}
	copy(dst[at+1:at+labelColumn-1], label)
	return dst
}
