package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Config says what to measure. Finack and Rounds are needed.
type Config struct {
	Finack   string    // the program's path
	Dir      string    // where the captures are made and stay; "": a temporary one
	Rounds   int       // how often each program is run; slow ones are run once
	Open     int       // the most connections that are open at a time; 0: 4,000,000
	Quick    bool      // small captures and one round, to see that everything works
	Peers    bool      // also programs that take long: argus, tcptrace, tshark
	Progress io.Writer // is told what is being done; nil: nobody
}

// suite is a run of all measurements.
type suite struct {
	Config
	report  Report
	cores   []int
	passing bool // the directory is a temporary one
}

// Run makes the captures and measures finack and its peers on them, in turns,
// all on the same file and in the same run. A peer that fails or is not there
// has a row that says so; it is an error when finack fails.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	s := &suite{Config: cfg, cores: cores()}
	if s.Open == 0 {
		s.Open = 4_000_000
	}
	if s.Quick {
		s.Rounds = 1
	}
	if s.Dir == "" {
		dir, err := os.MkdirTemp("", "finack-bench-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		s.Dir, s.passing = dir, true
	}
	s.describe(ctx)
	for _, part := range []func(context.Context) error{s.short, s.bulk, s.open} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return &s.report, nil
}

// describe notes what is compared and where.
func (s *suite) describe(ctx context.Context) {
	r := &s.report
	r.Machine = Machine()
	r.Programs = []string{own()}
	ask := [][]string{{"tcpdump", "--version"}}
	if s.Peers {
		ask = append(ask, []string{"argus", "-h"}, []string{"tcptrace", "-v"}, []string{"tshark", "--version"})
	}
	for _, argv := range ask {
		if _, err := exec.LookPath(argv[0]); err != nil {
			r.Programs = append(r.Programs, argv[0]+": not installed")
			continue
		}
		r.Programs = append(r.Programs, version(ctx, argv...))
	}
	if !haveTaskset() {
		r.Notes = append(r.Notes, "taskset is not installed: nothing but GOMAXPROCS keeps programs on one core")
	}
}

// row is a program in a table.
type row struct {
	name string // as the table has it
	argv []string
	own  bool // finack: its failure is an error
	slow bool // run once
	n    int  // of cores it may use
	result
}

// finack returns a row of this program on n cores.
func (s *suite) finack(n int, args ...string) *row {
	name := "finack"
	for _, a := range args[:len(args)-1] { // but for the file
		name += " " + a
	}
	return &row{name: name, argv: append([]string{s.Finack}, args...), own: true, n: n}
}

// tcpdump returns the row that others are compared with: it decodes nothing
// and follows no connection, it reads the file and writes it.
func tcpdump(file string) *row {
	return &row{name: "tcpdump -r FILE -w /dev/null", argv: []string{"tcpdump", "-r", file, "-w", os.DevNull}, n: 1}
}

// short compares everything on many short connections.
func (s *suite) short(ctx context.Context) error {
	spec := Spec{Kind: Short}
	if s.Quick {
		spec.Conns = 3000
	}
	file, packets, err := s.make(ctx, spec)
	if err != nil {
		return err
	}
	defer s.remove(file)
	rows := []*row{
		tcpdump(file),
		s.finack(1, "read", "--summary", file),
		s.finack(1, "read", "--json", "--only", "connection,summary", file),
		s.finack(1, "read", "--json", file),
		s.finack(1, "read", file),
		s.finack(2, "read", "--summary", file),
		s.finack(2, "read", "--json", "--only", "connection,summary", file),
	}
	if s.Peers {
		rows = append(
			rows,
			&row{name: "argus -r FILE -w /dev/null", argv: []string{"argus", "-X", "-r", file, "-w", os.DevNull}, slow: true, n: 1},
			&row{name: "tcptrace -n FILE", argv: []string{"tcptrace", "-n", file}, slow: true, n: 1},
			&row{name: "tshark -q -z conv,tcp -r FILE", argv: []string{"tshark", "-q", "-z", "conv,tcp", "-r", file}, slow: true, n: 1},
		)
	}
	if err := s.measure(ctx, rows); err != nil {
		return err
	}
	s.report.Tables = append(s.report.Tables, comparison("Many short connections ("+count(packets, "packet")+")", packets, rows))
	return nil
}

// bulk compares on large segments: what a packet costs beside its bytes.
func (s *suite) bulk(ctx context.Context) error {
	spec := Spec{Kind: Bulk}
	if s.Quick {
		spec.Segments = 300
	}
	file, packets, err := s.make(ctx, spec)
	if err != nil {
		return err
	}
	defer s.remove(file)
	rows := []*row{
		tcpdump(file),
		s.finack(1, "read", "--summary", file),
		s.finack(2, "read", "--summary", file),
	}
	if err := s.measure(ctx, rows); err != nil {
		return err
	}
	s.report.Tables = append(s.report.Tables, comparison("A few bulk transfers ("+count(packets, "packet")+")", packets, rows))
	return nil
}

// open tells what it costs that many connections are open: of connections that
// open and have one exchange, ever more at a time, and of a SYN flood.
func (s *suite) open(ctx context.Context) error {
	total, flood := 1_000_000, 5_000_000
	levels := []int{1000, 100_000, 1_000_000, 4_000_000}
	if s.Quick {
		total, flood, levels = 5000, 5000, []int{50, 5000}
	}
	t := Table{
		Title:  "Connections open at a time (finack read --summary, one core)",
		Header: []string{"open", "packets", "packets/s", "× tcpdump", "CPU/packet", "× first", "peak memory"},
	}
	var first time.Duration // CPU time for a packet
	for i, n := range levels {
		if n = min(n, s.Open); i > 0 && n <= levels[i-1] {
			break
		}
		r, err := s.level(ctx, strconv.Itoa(n), Spec{Kind: Open, Conns: max(n, total), Concurrency: n}, n, &first)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, r)
	}
	r, err := s.level(ctx, fmt.Sprintf("SYN flood of %d", flood), Spec{Kind: Flood, Conns: flood}, 0, &first)
	if err != nil {
		return err
	}
	t.Rows = append(t.Rows, r)
	s.report.Tables = append(s.report.Tables, t)
	return nil
}

// level measures one row of open's table. bound is how many connections finack
// must be able to keep; 0: as many as it does by itself.
func (s *suite) level(ctx context.Context, name string, spec Spec, bound int, first *time.Duration) ([]string, error) {
	file, packets, err := s.make(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer s.remove(file)
	args := []string{"read", "--summary"}
	if bound > 0 {
		args = append(args, "--max-conns", strconv.Itoa(bound))
	}
	rows := []*row{tcpdump(file), s.finack(1, append(args, file)...)}
	if err := s.measure(ctx, rows); err != nil {
		return nil, err
	}
	dump, own := rows[0], rows[1]
	if dump.err != nil && !errors.Is(dump.err, errNotInstalled) {
		s.report.Notes = append(s.report.Notes, fmt.Sprintf("%s, %s open: failed: %v", dump.name, name, dump.err))
	}
	per := own.cpu / time.Duration(packets)
	if *first == 0 {
		*first = per
	}
	return []string{
		name, strconv.FormatUint(packets, 10), rateOf(packets, own.wall), ratio(dump, own),
		nanos(per), fmt.Sprintf("%.2f", float64(per)/float64(*first)), memory(own.rss),
	}, nil
}

// measure runs the programs in turns, as many rounds as there are.
func (s *suite) measure(ctx context.Context, rows []*row) error {
	for round := range s.Rounds {
		for _, r := range rows {
			if r.err != nil || r.slow && round > 0 {
				continue
			}
			if r.n > len(s.cores) {
				r.err = fmt.Errorf("needs %d cores", r.n)
				continue
			}
			if _, err := exec.LookPath(r.argv[0]); err != nil {
				r.err = errNotInstalled
				continue
			}
			s.progress("round %d of %d: %s", round+1, s.Rounds, r.name)
			u, err := measure(ctx, command{argv: r.argv, cores: s.cores[:r.n]})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && r.own {
				return fmt.Errorf("run %s: %w", r.name, err)
			}
			r.add(u, err)
		}
	}
	return nil
}

// make generates a capture, in another process so that its memory is not taken
// for that of what is measured (see usage.rss).
func (s *suite) make(ctx context.Context, spec Spec) (file string, packets uint64, err error) {
	name := string(spec.Kind)
	if spec.Kind == Open {
		name += "-" + strconv.Itoa(spec.Concurrency)
	}
	file = filepath.Join(s.Dir, name+".pcap")
	s.progress("making %s", file)
	cmd := exec.CommandContext(ctx, s.Finack, "bench", "generate", string(spec.Kind), file,
		"--conns", strconv.Itoa(spec.Conns), "--concurrency", strconv.Itoa(spec.Concurrency), "--segments", strconv.Itoa(spec.Segments))
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
		}
		return file, 0, fmt.Errorf("make %s: %w", file, err)
	}
	if _, err := fmt.Sscan(string(out), &packets); err != nil {
		return file, 0, fmt.Errorf("make %s: answer %q: %w", file, out, err)
	}
	return file, packets, nil
}

// remove makes room for the next capture, where they do not stay.
func (s *suite) remove(file string) {
	if s.passing {
		_ = os.Remove(file) // the directory goes, too
	}
}

func (s *suite) progress(format string, args ...any) {
	if s.Progress != nil {
		fmt.Fprintf(s.Progress, format+"\n", args...)
	}
}
