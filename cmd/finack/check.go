package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"finack/capture"
	"finack/internal/fixture"
)

// checkCommand holds the flags of check and what it has found.
type checkCommand struct {
	json, verbose         bool
	update, updateVerdict bool
	against, filter       string
	junit                 string

	out     *bufio.Writer
	errOut  io.Writer
	results []checkedFixture
	others  int // files in txtar's form without segments
}

// checkedFixture is what became of one fixture.
type checkedFixture struct {
	path    string
	report  *fixture.Report // nil with err
	err     error
	updated bool
}

func (c *checkedFixture) ok() bool { return c.err == nil && c.report.OK() }

func newCheck(s std) *cobra.Command {
	var c checkCommand
	cmd := &cobra.Command{
		Use:   "check PATH…",
		Short: "Replay fixtures: connections kept as text, and what must come of them",
		Long: `check replays fixtures and says what differs from the events and the verdict
that they keep. A PATH is a fixture, or a directory with fixtures (*.txtar) in it
or below. finack read FILE --fixture x.txtar makes one from a capture.

--update rewrites the events of fixtures that differ. A verdict says what must
come out, whatever the tracker thinks: only --update-verdict rewrites it.

--against compares a fresh capture with one fixture by meaning: what each end
sent, who closed and how; not how the data was cut into segments, not windows,
options and addresses. See internal/fixture/FORMAT.md.

Exit status: 0 nothing differs, 1 something does, 2 wrong usage or missing file,
4 a fixture that cannot be read.`,
		Example: `  finack check trace/testdata
  finack check --update half-close.txtar
  finack check --against today.pcapng half-close.txtar
  finack check --junit report.xml testdata`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.out, c.errOut = bufio.NewWriter(s.out), s.err
			paths, err := c.paths(args)
			if err != nil {
				return err
			}
			if err := c.run(s, paths); err != nil {
				return errors.Join(c.out.Flush(), err)
			}
			return c.conclude()
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.update, "update", false, "rewrite the events of fixtures that differ")
	f.BoolVar(&c.updateVerdict, "update-verdict", false, "rewrite the verdicts, too")
	f.StringVar(&c.against, "against", "", "compare the capture `FILE` with one fixture, by meaning")
	f.StringVar(&c.filter, "filter", "", "with --against: only the capture's frames that pass `FILTER`")
	f.StringVar(&c.junit, "junit", "", "also write a JUnit XML report to `FILE`")
	f.BoolVar(&c.json, "json", false, "print JSON Lines")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "also name the fixtures that do not differ")
	return cmd
}

// paths finds the fixtures that the arguments name, and refuses flags that do
// not go together.
func (c *checkCommand) paths(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, usagef("check: no fixture named: see finack check --help")
	}
	var paths []string
	for _, arg := range args {
		st, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !st.IsDir() {
			paths = append(paths, arg)
			continue
		}
		below, err := c.below(arg)
		if err != nil {
			return nil, err
		}
		if len(below) == 0 {
			return nil, usagef("check %s: no fixture (*.txtar with segments) in this directory", arg)
		}
		paths = append(paths, below...)
	}
	switch {
	case c.against == "" && c.filter != "":
		return nil, usagef("check --filter: only with --against")
	case c.against != "" && (c.update || c.updateVerdict):
		return nil, usagef("check --against: cannot be with --update: finack read %s --fixture NEW makes a fixture", c.against)
	case c.against != "" && len(paths) != 1:
		return nil, usagef("check --against: wants one fixture, not %d", len(paths))
	}
	return paths, nil
}

// below returns the fixtures in a directory and below it.
func (c *checkCommand) below(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".txtar") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if fixture.Has(data) {
			paths = append(paths, path)
		} else {
			c.others++
		}
		return nil
	})
	return paths, err
}

// run checks fixture after fixture.
func (c *checkCommand) run(s std, paths []string) error {
	for _, path := range paths {
		r := checkedFixture{path: path}
		f, err := fixture.Read(path)
		switch {
		case err != nil:
			r.err = err
		case c.against != "":
			if r.report, err = c.compare(s, f); err != nil {
				return err
			}
		default:
			r.report, r.err = f.Check(nil)
		}
		if r.err != nil && !errors.Is(r.err, fixture.ErrFormat) {
			return r.err
		}
		if r.err == nil && !r.report.OK() {
			if err := c.rewrite(f, &r); err != nil {
				return err
			}
		}
		c.results = append(c.results, r)
		c.print(&r)
	}
	return nil
}

// compare holds a capture against a fixture.
func (c *checkCommand) compare(s std, f *fixture.Fixture) (*fixture.Report, error) {
	if err := checkFilter(c.filter); err != nil {
		return nil, err
	}
	src, err := capture.OpenFile(c.against, &capture.FileConfig{Filter: c.filter, Stdin: s.in})
	if err != nil {
		return nil, err
	}
	defer src.Close()
	rep, err := f.Against(src)
	if errors.Is(err, fixture.ErrFormat) {
		return nil, &statusError{exitDamaged, err}
	}
	return rep, err
}

// rewrite makes the golden sections that may be written those of today, and
// checks again.
func (c *checkCommand) rewrite(f *fixture.Fixture, r *checkedFixture) error {
	if !c.update && !c.updateVerdict {
		return nil
	}
	now, err := f.Replay(nil)
	if err != nil {
		return err
	}
	if c.update {
		f.Events = now.Events
	}
	if c.updateVerdict {
		f.Verdict = now.Verdict
	}
	if err := f.Write(r.path); err != nil {
		return err
	}
	r.updated = true
	if f, err = fixture.Read(r.path); err != nil {
		return err
	}
	r.report, err = f.Check(nil)
	return err
}

// print says what became of one fixture.
func (c *checkCommand) print(r *checkedFixture) {
	switch {
	case c.json:
		c.printJSON(r)
	case r.err != nil:
		fmt.Fprintf(c.out, "%v\n", r.err)
	case !r.report.OK():
		fmt.Fprintf(c.out, "%s", r.report)
	case r.updated:
		fmt.Fprintf(c.out, "%s: rewritten\n", r.path)
	case c.verbose:
		fmt.Fprintf(c.out, "%s: ok\n", r.path)
	}
}

// counts returns how many fixtures differ, cannot be read, were rewritten.
func (c *checkCommand) counts() (differ, unreadable, updated int) {
	for i := range c.results {
		r := &c.results[i]
		switch {
		case r.err != nil:
			unreadable++
		case !r.report.OK():
			differ++
		}
		if r.updated {
			updated++
		}
	}
	return differ, unreadable, updated
}

// conclude prints the totals and decides the exit status.
func (c *checkCommand) conclude() error {
	differ, unreadable, updated := c.counts()
	if c.json {
		c.totalsJSON()
	} else {
		fmt.Fprintf(c.out, "%s, %d differ", plural(len(c.results), "fixture"), differ)
		if unreadable > 0 {
			fmt.Fprintf(c.out, ", %d cannot be read", unreadable)
		}
		if updated > 0 {
			fmt.Fprintf(c.out, ", %d rewritten", updated)
		}
		if c.others > 0 {
			fmt.Fprintf(c.out, "; %s without segments passed over", plural(c.others, ".txtar file"))
		}
		fmt.Fprintln(c.out)
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	if c.junit != "" {
		if err := c.writeJUnit(); err != nil {
			return err
		}
	}
	switch {
	case unreadable > 0:
		return &statusError{status: exitDamaged}
	case differ > 0:
		return &statusError{status: exitCheck}
	}
	return nil
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
