package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Program is a command that reads a capture.
type Program struct {
	Name    string   // of the row
	Argv    []string // "FILE" stands for the capture
	Cores   int      // it may use; 1: it is pinned to one, where taskset(1) is there
	Slow    bool     // it is run once only
	Version []string // prints the version; nil: it is not asked
}

// Result is how a program did.
type Result struct {
	Wall   time.Duration // from its start to its end, the shortest of all rounds
	CPU    time.Duration // user and system time, of that round
	MaxRSS int64         // bytes, the largest of all rounds
	Err    error         // it could not be started, or failed; exec.ErrNotFound where it is not installed
}

// Measure runs programs on a capture, in turn, so that what else the machine
// does meets all alike. The results are in the programs' order. It ends early
// with ctx.
func Measure(ctx context.Context, file string, programs []Program, rounds int) []Result {
	results := make([]Result, len(programs))
	for round := range rounds {
		for i := range programs {
			r := &results[i]
			if r.Err != nil || round > 0 && programs[i].Slow || ctx.Err() != nil {
				continue
			}
			one := run(ctx, file, &programs[i])
			one.MaxRSS = max(one.MaxRSS, r.MaxRSS)
			if round == 0 || one.Err != nil || one.Wall < r.Wall {
				*r = one
			} else {
				r.MaxRSS = one.MaxRSS
			}
		}
	}
	return results
}

func run(ctx context.Context, file string, p *Program) Result {
	if _, err := exec.LookPath(p.Argv[0]); err != nil {
		return Result{Err: exec.ErrNotFound}
	}
	var argv []string
	if _, err := exec.LookPath("taskset"); err == nil && p.Cores == 1 {
		argv = append(argv, "taskset", "-c", "0")
	}
	for _, arg := range p.Argv {
		argv = append(argv, strings.ReplaceAll(arg, "FILE", file))
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr // stdout is /dev/null
	cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", p.Cores))
	start := time.Now()
	err := cmd.Run()
	r := Result{Wall: time.Since(start)}
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		r.Err = fmt.Errorf("%w: %s", err, line)
		return r
	}
	r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.MaxRSS = int64(usage.Maxrss) << 10 // KiB on Linux, getrusage(2)
	}
	return r
}

// VersionOf returns the first line that a program says of itself, or "".
func (p *Program) VersionOf(ctx context.Context) string {
	if len(p.Version) == 0 {
		return ""
	}
	// Some say it on the wrong stream, and some fail and say it all the same.
	cmd := exec.CommandContext(ctx, p.Version[0], p.Version[1:]...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	for line := range strings.Lines(stdout.String() + stderr.String()) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// Machine describes where this runs.
func Machine() string {
	s := fmt.Sprintf("%d cores, %s, %s/%s", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		s += ", kernel " + strings.TrimSpace(string(kernel))
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value) + ", " + s
			}
		}
	}
	return s
}
