package echo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
)

// TestAgainstC measures our server beside a plain C one (testdata/echo.c),
// socat and ncat, each with the same C client, server and client on one CPU,
// where waking up an idle CPU does not hide the programs. By itself it is short
// and only shows that everything runs; on a quiet machine
//
//	FINACK_BENCH_ECHO=1 go test -run TestAgainstC -v ./internal/echo
//
// prints one table of medians and fails where ours is too far from C's. A round
// measures all the servers one after the other, so that what else the machine
// does meets them alike; the ratio is the median of the rounds' own ratios.
func TestAgainstC(t *testing.T) {
	rounds, count, size := 1, 50, 1<<20
	full := os.Getenv("FINACK_BENCH_ECHO") != ""
	if full {
		rounds, count, size = 15, 10_000, 200<<20
	}
	b := newBench(t)
	type cell struct {
		network, server string
		bulk            bool
	}
	got := map[cell][]float64{}
	servers := []string{"C", "finack", "socat", "ncat"}
	for range rounds {
		for _, network := range []string{"tcp4", "udp4", "unix", "unixgram"} {
			for _, server := range servers {
				addr, stop, ok := b.start(server, network)
				if !ok {
					continue
				}
				ns := b.client("ping", network, addr, "64", strconv.Itoa(count))
				got[cell{network, server, false}] = append(got[cell{network, server, false}], ns/1e3)
				// ncat -u serves one peer and ends.
				if network == "tcp4" || network == "unix" {
					// socat's and ncat's cat need a fraction of the bytes to show how slow they are.
					n := size
					if server == "socat" || server == "ncat" {
						n /= 4
					}
					mb := b.client("bulk", network, addr, "65536", strconv.Itoa(n))
					got[cell{network, server, true}] = append(got[cell{network, server, true}], mb)
				}
				stop()
			}
		}
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "one CPU, medians of %d\tC\tfinack\tsocat\tncat\tfinack/C\twanted\t\n", rounds)
	for _, row := range []struct {
		network, what string
		bulk          bool
		want          float64 // of finack/C: at most, for bulk at least; 0: none
	}{
		{"tcp4", "tcp, 64 bytes, p50 µs", false, 1.25},
		{"udp4", "udp, 64 bytes, p50 µs", false, 1.10},
		{"unix", "unix, 64 bytes, p50 µs", false, 1.40},
		{"unixgram", "unixgram, 64 bytes, p50 µs", false, 1.15},
		{"tcp4", "tcp, 64 KiB, MB/s", true, 0.85},
		{"unix", "unix, 64 KiB, MB/s", true, 0},
	} {
		fmt.Fprintf(w, "%s\t", row.what)
		all := func(server string) []float64 { return got[cell{row.network, server, row.bulk}] }
		for _, server := range servers {
			if len(all(server)) > 0 {
				fmt.Fprintf(w, "%.4g\t", median(all(server)))
			} else {
				fmt.Fprint(w, "–\t")
			}
		}
		to := func(server string) float64 {
			ratios := make([]float64, rounds)
			for i, v := range all(server) {
				ratios[i] = all("finack")[i] / v
			}
			return median(ratios)
		}
		ratio := to("C")
		fmt.Fprintf(w, "%.2f\t", ratio)
		switch {
		case row.want == 0:
			fmt.Fprint(w, "\t\n")
		case row.bulk:
			fmt.Fprintf(w, "≥ %.2f\t\n", row.want)
		default:
			fmt.Fprintf(w, "≤ %.2f\t\n", row.want)
		}
		if !full {
			continue
		}
		if row.want != 0 && (row.bulk && ratio < row.want || !row.bulk && ratio > row.want) {
			t.Errorf("%s: %.2f of C's, want %.2f", row.what, ratio, row.want)
		}
		for _, other := range []string{"socat", "ncat"} {
			if len(all(other)) > 0 && (row.bulk && to(other) < 2 || !row.bulk && to(other) > 1) {
				t.Errorf("%s: %.2f of %s's", row.what, to(other), other)
			}
		}
	}
	w.Flush()
	t.Logf("\n%s", out.String())
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// bench has the programs that are measured.
type bench struct {
	t      *testing.T
	dir    string
	cpu    string
	number int // of the next socket's file
}

func newBench(t *testing.T) *bench {
	t.Helper()
	for _, name := range []string{"gcc", "taskset", "go", "socat", "ncat"} {
		needProgram(t, name)
	}
	b := &bench{t: t, dir: t.TempDir()}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	b.cpu = list[:strings.IndexAny(list, ",-\n")]
	b.cpu = strings.TrimSpace(b.cpu)
	// The go command sees what we read, not what gcc does: a cached result is
	// good for this source only.
	source, err := os.ReadFile(filepath.Join("testdata", "echo.c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", b.path("C"), "-x", "c", "-"},
		{"go", "build", "-o", b.path("finack"), "finack/cmd/finack"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = bytes.NewReader(source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// start starts a server and returns its address as the C client takes it, a
// port or a path. Not every server has every network.
func (b *bench) start(server, network string) (addr string, stop func(), ok bool) {
	b.t.Helper()
	b.number++
	addr = b.path(fmt.Sprint("s", b.number))
	listen, shown := addr, addr
	if !strings.HasPrefix(network, "unix") {
		addr = freePort(b.t, network)
		listen, shown = "127.0.0.1 "+addr, "127.0.0.1:"+addr
	}
	var line string
	switch server + " " + network {
	case "C tcp4", "C udp4", "C unix", "C unixgram":
		line = b.path("C") + " serve " + network + " " + addr
	case "finack tcp4", "finack udp4", "finack unix", "finack unixgram":
		line = b.path("finack") + " echo serve " + network + "://" + shown
	case "socat tcp4":
		line = "socat -d -d TCP4-LISTEN:" + addr + ",bind=127.0.0.1,fork,reuseaddr PIPE"
	case "socat udp4":
		line = "socat -d -d UDP4-LISTEN:" + addr + ",bind=127.0.0.1,fork PIPE"
	case "socat unix":
		line = "socat -d -d UNIX-LISTEN:" + addr + ",fork PIPE"
	case "ncat tcp4":
		line = "ncat -v -l -k -e /bin/cat " + listen
	case "ncat udp4":
		line = "ncat -v -u -l -e /bin/cat " + listen
	case "ncat unix":
		line = "ncat -v -l -k -e /bin/cat -U " + listen
	default:
		return "", nil, false
	}
	ready := map[string]string{"C": "ready", "finack": "echoing on", "socat": "listening on", "ncat": "Listening on " + shown}[server]
	return addr, b.run(ready, strings.Fields("taskset -c "+b.cpu+" "+line)), true
}

// run starts a program and returns when it prints ready; stop kills it and
// what it forked.
func (b *bench) run(ready string, args []string) (stop func()) {
	b.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := program(b.t, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		b.t.Fatal(err)
	}
	in := bufio.NewScanner(r)
	for in.Scan() && !strings.Contains(in.Text(), ready) {
	}
	if in.Text() == "" {
		b.t.Fatalf("%v does not say %q", args, ready)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	return func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		r.Close()
	}
}

// client runs the C client and returns the number that it prints.
func (b *bench) client(args ...string) float64 {
	b.t.Helper()
	out, err := exec.Command("taskset", append([]string{"-c", b.cpu, b.path("C")}, args...)...).Output()
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		b.t.Fatalf("client %v: %v", args, err)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.t.Fatalf("client %v: %q", args, out)
	}
	return n
}
