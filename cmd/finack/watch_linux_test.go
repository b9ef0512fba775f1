package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"finack/internal/privnet"
)

// patience is how long anything may take here before the test gives up.
const patience = 30 * time.Second

// process is a finack that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   bytes.Buffer // stdout, unless it goes elsewhere; after wait
	lines chan string  // of stderr
	seen  []string     // of stderr, what await and wait have taken
	over  bool
}

// start starts program with its stdout going to out; nil: into the process's.
func start(t *testing.T, program string, out *os.File, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), lines: make(chan string, 1000)}
	// A program with the race detector would sleep for a second at its end.
	p.cmd.Env = append(os.Environ(), "TZ=UTC", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	if out != nil {
		p.cmd.Stdout = out
	} else {
		p.cmd.Stdout = &p.out
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			p.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		if !p.over {
			_ = p.cmd.Process.Kill()
			p.wait()
		}
	})
	return p
}

// startWatch starts "finack watch" and returns when it watches.
func startWatch(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, "finack", nil, append([]string{"watch"}, args...)...)
	p.await("watching")
	return p
}

// await returns the next line of stderr that has text in it.
func (p *process) await(text string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%v ended without %q: stderr %q", p.cmd.Args, text, p.seen)
			}
			p.seen = append(p.seen, line)
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			p.t.Fatalf("%v does not print %q: stderr %q", p.cmd.Args, text, p.seen)
		}
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", p.cmd.Args, err)
	}
}

// wait waits for the end and returns the exit status, −1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	p.over = true
	killer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Errorf("%v: %v", p.cmd.Args, err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// end interrupts the process as Ctrl-C does and fails the test unless it exits
// with 0; it returns what it has printed.
func (p *process) end() string {
	p.t.Helper()
	p.signal(os.Interrupt)
	if status := p.wait(); status != 0 {
		p.t.Fatalf("%v: exit status %d after SIGINT, stderr %q", p.cmd.Args, status, p.seen)
	}
	return p.out.String()
}

// needTool skips the test when a program is not installed; it fails instead
// where nothing may be skipped.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("FINACK_NEED_NETNS") == "1" {
		t.Fatalf("%s is not installed (FINACK_NEED_NETNS=1)", name)
	}
	t.Skipf("%s is not installed", name)
}

// someTraffic makes a few connections and datagrams on lo.
func someTraffic(t *testing.T) {
	t.Helper()
	l := listenTCP(t)
	for range 5 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := untilEOF(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	u, err := net.Dial("udp4", "127.0.0.1:9") // nobody is there: ICMP, too
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write(question); err != nil {
		t.Fatal(err)
	}
	settledStates(t)
}

// asUser makes a program an ordinary user where it would be a root that may not
// set its groups, with which tcpdump does not put up (user_namespaces(7)).
func asUser() *syscall.SysProcAttr {
	if b, err := os.ReadFile("/proc/self/setgroups"); err != nil || string(b) != "deny\n" {
		return nil
	}
	id := []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
}

// What -w writes other programs read, to the last frame.
func TestWatchWritesForTshark(t *testing.T) {
	privnet.Require(t)
	needTool(t, "tshark")
	needTool(t, "tcpdump")
	written := regexp.MustCompile(`(?m)^  (\d+) frames? written$`)
	for _, iface := range []string{"lo", "any"} {
		for _, file := range []string{"x.pcapng", "x.pcap"} {
			t.Run(iface+" "+file, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), file)
				watch := startWatch(t, "-i", iface, "-w", path)
				someTraffic(t)
				out := watch.end()
				m := written.FindStringSubmatch(out)
				if m == nil {
					t.Fatalf("the summary does not say how many frames were written:\n%s", out)
				}
				want, _ := strconv.Atoi(m[1])
				if want < 5*7+1 {
					t.Errorf("%d frames written, which is too few", want)
				}
				for _, reader := range [][]string{
					{"tshark", "-n", "-r", "-", "-T", "fields", "-e", "frame.number"},
					{"tcpdump", "-n", "-Z", "root", "-r", "-"},
				} {
					f, err := os.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					cmd := exec.Command(reader[0], reader[1:]...)
					var stderr bytes.Buffer
					cmd.Stdin, cmd.Stderr = f, &stderr
					cmd.SysProcAttr = asUser()
					read, err := cmd.Output()
					f.Close()
					if n := bytes.Count(read, []byte("\n")); err != nil || n != want {
						t.Errorf("%s reads %d frames of %d: %v, stderr %q", reader[0], n, want, err, stderr.String())
					}
				}
			})
		}
	}
}

// Live, too, only the connections are shown that were asked for, and the rest is counted.
func TestWatchWhere(t *testing.T) {
	privnet.Require(t)
	where := startWatch(t, "-i", "lo", "--where", "closed-by=client and bytes>=100k")
	none := startWatch(t, "-i", "lo", "--where", "closed-by=server", "--summary")
	someTraffic(t)
	out := where.end()
	if n := strings.Count(out, " closed by client, "); n != 5 || strings.Contains(out, "SYN ") || strings.Contains(out, "UDP") ||
		!strings.Contains(out, ", 5 of 5 TCP connections and 0 of 1 datagram flow match, ") {
		t.Errorf("it printed\n%s", out)
	}
	if out := none.end(); !strings.Contains(out, " frames, 0 of 5 TCP connections and 0 of 1 datagram flow match, 0 frames lost\n") || strings.Count(out, "\n") != 1 {
		t.Errorf("--summary printed\n%s", out)
	}
}

// A line is out within two milliseconds of the kernel's stamp in it.
func TestWatchLatency(t *testing.T) {
	privnet.Require(t)
	l := listenTCP(t)
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	watch := start(t, "finack", out, "watch", "-i", "lo", "tcp", "port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	out.Close()
	watch.await("watching")

	_ = r.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(r)
	// line returns the next line that has text, and when it came.
	line := func(text string) (string, time.Time) {
		t.Helper()
		for lines.Scan() {
			if now := time.Now(); strings.Contains(lines.Text(), text) {
				return lines.Text(), now
			}
		}
		t.Fatalf("no line with %q: %v", text, lines.Err())
		return "", time.Time{}
	}
	var late []time.Duration
	for range 100 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		syn, came := line("→ SYN ")
		stamp, err := time.Parse("15:04:05.000000", strings.Fields(syn)[0])
		if err != nil {
			t.Fatalf("%q: %v", syn, err)
		}
		came = came.UTC()
		midnight := time.Date(came.Year(), came.Month(), came.Day(), 0, 0, 0, 0, time.UTC)
		d := came.Sub(midnight) - stamp.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))
		late = append(late, (d+24*time.Hour)%(24*time.Hour))
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := untilEOF(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
		line("closed by client")
	}
	watch.signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, r)
	if status := watch.wait(); status != 0 {
		t.Errorf("exit status %d, stderr %q", status, watch.seen)
	}
	slices.Sort(late)
	t.Logf("from the kernel's stamp to the reader: p50 %v, p90 %v, max %v", late[50], late[90], late[99])
	if late[50] > 2*time.Millisecond {
		t.Errorf("p50 %v, want at most 2ms", late[50])
	}
}

// build builds the program as it is released, without cgo.
func build(t *testing.T) string {
	t.Helper()
	needTool(t, "go")
	path := filepath.Join(t.TempDir(), "finack")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// What is captured is parsed without any privilege, on every thread.
func TestPrivilegesAreDropped(t *testing.T) {
	privnet.Require(t)
	program := build(t)
	for _, tt := range []struct {
		ready string
		args  []string
	}{
		{"watching", []string{"watch", "-i", "lo"}},
		{"listening on socket(AF_INET6", []string{"socket", "listen"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) { dropsPrivileges(t, program, tt.ready, tt.args...) })
	}
}

func dropsPrivileges(t *testing.T, program, ready string, args ...string) {
	watch := start(t, program, nil, args...)
	watch.await(ready)
	pid := watch.cmd.Process.Pid

	idMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	// Where ids are mapped one by one there is nobody to become.
	var inside, outside, length int
	if _, err := fmt.Sscan(string(idMap), &inside, &outside, &length); err != nil {
		t.Fatal(err)
	}
	hasNobody := inside+length > 65534

	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	for _, path := range append(tasks, fmt.Sprintf("/proc/%d/status", pid)) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		status := make(map[string][]string)
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.Fields(value)
		}
		for key, want := range map[string]string{
			"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
		} {
			if got := strings.Join(status[key], " "); got != want {
				t.Errorf("%s: %s is %s, want %s", path, key, got, want)
			}
		}
		if hasNobody && (slices.Contains(status["Uid"], "0") || slices.Contains(status["Gid"], "0")) {
			t.Errorf("%s: Uid %v, Gid %v: still root", path, status["Uid"], status["Gid"])
		}
	}
	t.Logf("%d threads, nobody is mapped: %v", len(tasks), hasNobody)

	// It captures nevertheless, and can say what it lost.
	someTraffic(t)
	if out := watch.end(); !regexp.MustCompile(`closed: 5 (three|four)-step \(by client\)|closed by: 5 client`).MatchString(out) {
		t.Errorf("it captured\n%s", out)
	}
}

func TestWatchEndsCleanly(t *testing.T) {
	privnet.Require(t)
	t.Run("interrupted with nothing captured", func(t *testing.T) {
		watch := startWatch(t, "-i", "lo", "tcp port 1")
		begun := time.Now()
		out := watch.end()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if want := "0 frames, 0 TCP connections, 0 datagram flows, 0 frames lost\n"; out != want {
			t.Errorf("it printed %q, want %q", out, want)
		}
	})
	t.Run("stdout is closed", func(t *testing.T) {
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		watch := start(t, "finack", out, "watch", "-i", "lo")
		out.Close()
		watch.await("watching")
		taken := len(watch.seen)
		r.Close()
		someTraffic(t)
		if status := watch.wait(); status != 0 {
			t.Errorf("exit status %d", status)
		}
		if extra := watch.seen[taken:]; len(extra) > 0 {
			t.Errorf("stderr has %q", extra)
		}
	})
	t.Run("no such interface", func(t *testing.T) {
		watch := start(t, "finack", nil, "watch", "-i", "nosuch0")
		status := watch.wait()
		if status != 2 || len(watch.seen) != 1 || !strings.Contains(watch.seen[0], "nosuch0") || watch.out.Len() > 0 {
			t.Errorf("exit status %d, stdout %q, stderr %q", status, watch.out.String(), watch.seen)
		}
	})
	t.Run("after a number of frames", func(t *testing.T) {
		watch := startWatch(t, "-i", "lo", "-c", "3")
		someTraffic(t)
		if status := watch.wait(); status != 0 {
			t.Errorf("exit status %d, stderr %q", status, watch.seen)
		}
		if out := watch.out.String(); !strings.Contains(out, "\n3 frames, 1 TCP connection, ") {
			t.Errorf("it printed\n%s", out)
		}
	})
}

// A server traces its own connections from the first SYN to the last ACK,
// those too that it ends itself when it is told to stop.
func TestEchoServeTrace(t *testing.T) {
	privnet.Require(t)
	serve := start(t, "finack", nil, "echo", "serve", "--trace", "tcp://127.0.0.1:0", "udp://127.0.0.1:0")
	urls := make(map[string]string)
	for _, network := range []string{"tcp", "udp"} {
		_, url, _ := strings.Cut(serve.await("echoing on "+network+"://"), "echoing on ")
		urls[network] = url
		for _, args := range [][]string{{"--count", "3"}, {"--size", "1000", "--quiet"}} {
			send := start(t, "finack", nil, append([]string{"echo", "send", url}, args...)...)
			if status := send.wait(); status != 0 || len(send.seen) > 0 {
				t.Errorf("send to %s: exit status %d, stderr %q", url, status, send.seen)
			}
			if out := send.out.String(); !strings.Contains(out, ", 0% lost") {
				t.Errorf("send to %s printed\n%s", url, out)
			}
		}
	}
	c, err := net.Dial("tcp4", strings.TrimPrefix(urls["tcp"], "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ask(c.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	serve.signal(syscall.SIGTERM)
	if err := untilEOF(c.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // a client that takes its time: the trace goes on
	c.Close()
	if status := serve.wait(); status != 0 {
		t.Errorf("exit status %d, stderr %q", status, serve.seen)
	}
	out := serve.out.String()
	for want, n := range map[string]int{
		"→ SYN ":             3,
		"← SYN+ACK ":         3,
		" closed by client,": 2,
		" closed by server,": 1,
		"→ UDP ":             2, // of a flow the first of each direction
		"← UDP ":             2,
		", 3 TCP connections, 2 datagram flows, 0 frames lost\n": 1,
	} {
		if got := strings.Count(out, want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
	if t.Failed() {
		t.Logf("it printed\n%s", out)
	}
}
