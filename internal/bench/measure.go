package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// usage is what a run of a program took.
type usage struct {
	wall time.Duration
	cpu  time.Duration // user and system time
	rss  int64         // peak memory in bytes; never less than that of the process that starts it (getrusage(2))
}

// command is a program to measure.
type command struct {
	argv  []string
	cores []int // it runs on; nil: on all
}

// measure runs a program to its end, its output thrown away.
func measure(ctx context.Context, c command) (usage, error) {
	argv := c.argv
	if c.cores != nil && haveTaskset() {
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint(c.cores), " ", ","), "[]")
		argv = append([]string{"taskset", "-c", list}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr // stdout is the null device
	if c.cores != nil {
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", len(c.cores)))
	}
	begin := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(begin)}
	if ctx.Err() != nil {
		return u, ctx.Err()
	}
	if err != nil {
		if line := lastLine(stderr.String()); line != "" {
			err = fmt.Errorf("%w: %s", err, line)
		}
		return u, err
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.rss = int64(r.Maxrss)
		if runtime.GOOS != "darwin" { // where it is in bytes
			u.rss <<= 10
		}
	}
	return u, nil
}

func haveTaskset() bool {
	_, err := exec.LookPath("taskset")
	return err == nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// result is the best of several runs: the least time is the one that other
// programs disturbed least.
type result struct {
	usage
	err error // nil: it has run
}

var errNotInstalled = errors.New("not installed")

// add takes another run.
func (r *result) add(u usage, err error) {
	switch {
	case err != nil:
		r.err = err
	case r.wall == 0:
		r.usage = u
	default:
		r.wall, r.cpu, r.rss = min(r.wall, u.wall), min(r.cpu, u.cpu), max(r.rss, u.rss)
	}
}
