package echo

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
	"strings"
	"syscall"
	"testing"
	"time"
)

// needProgram skips the test when a program is not installed; it fails instead
// where nothing may be skipped.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("FINACK_NEED_NETNS") == "1" {
		t.Fatalf("%s is not installed (FINACK_NEED_NETNS=1)", name)
	}
	t.Skipf("%s is not installed", name)
}

// program returns a command that is killed when t ends, with what it forked:
// the processes of its own group.
func program(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	needProgram(t, name)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = longest
	return cmd
}

// start starts a server program and returns when a line of its standard error
// contains ready.
func start(t *testing.T, cmd *exec.Cmd, ready string) {
	t.Helper()
	stderr, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		stderr.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { // t's context has ended: it is being killed
		_ = cmd.Wait()
		stderr.Close()
	})
	stderr.SetReadDeadline(time.Now().Add(longest))
	for sc := bufio.NewScanner(stderr); ; {
		if !sc.Scan() {
			t.Fatalf("%v does not say %q: %v", cmd, ready, sc.Err())
		}
		if strings.Contains(sc.Text(), ready) {
			break
		}
	}
	// What it still says it must not wait for us to read.
	stderr.SetReadDeadline(time.Time{})
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T, network string) string {
	t.Helper()
	var addr net.Addr
	own := "127.0.0.1:0"
	if strings.HasSuffix(network, "6") {
		own = "[::1]:0"
	}
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, own)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		ln, err := net.Listen(network, own)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr = ln.Addr()
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return port
}

// ncat -e stops at the EOF, whatever cat has still to say, and stops both ways
// while one pipe to cat is full, as socat does with PIPE: no half-close, no long
// messages.
func TestOurClientWithOtherServers(t *testing.T) {
	nothingLeft(t)
	const (
		stream   = iota
		modest   // a stream of short messages
		datagram // a few datagrams
	)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	abstract := fmt.Sprintf("finack-interop-%d", os.Getpid())
	for name, test := range map[string]struct {
		ep    Endpoint // "4" and "6" stand for a free port of that loopback address
		args  string   // PORT is that port, PATH the path
		ready string
		can   int
	}{
		"socat tcp4":       {Endpoint{"tcp4", "4"}, "socat -d -d TCP4-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr EXEC:cat", "listening on", stream},
		"socat tcp6":       {Endpoint{"tcp6", "6"}, "socat -d -d TCP6-LISTEN:PORT,bind=[::1],fork,reuseaddr EXEC:cat", "listening on", stream},
		"socat udp4":       {Endpoint{"udp4", "4"}, "socat -d -d UDP4-LISTEN:PORT,bind=127.0.0.1 PIPE", "listening on", datagram},
		"socat udp6":       {Endpoint{"udp6", "6"}, "socat -d -d UDP6-LISTEN:PORT,bind=[::1] PIPE", "listening on", datagram},
		"socat recvfrom":   {Endpoint{"udp4", "4"}, "socat -d -d UDP4-RECVFROM:PORT,bind=127.0.0.1,fork EXEC:cat", "receiving on", datagram},
		"socat unix":       {Endpoint{"unix", path("s")}, "socat -d -d UNIX-LISTEN:PATH,fork EXEC:cat", "listening on", stream},
		"socat abstract":   {Endpoint{"unix", "@" + abstract}, "socat -d -d ABSTRACT-LISTEN:" + abstract + ",fork PIPE", "listening on", modest},
		"socat unixgram":   {Endpoint{"unixgram", path("d")}, "socat -d -d UNIX-RECVFROM:PATH,fork PIPE", "receiving on", datagram},
		"socat unixpacket": {Endpoint{"unixpacket", path("p")}, "socat -d -d UNIX-LISTEN:PATH,type=5,fork PIPE", "listening on", datagram},
		"ncat tcp4":        {Endpoint{"tcp4", "4"}, "ncat -v -l -k 127.0.0.1 PORT -e /bin/cat", "Listening on 127.0.0.1:PORT", modest},
		"ncat tcp6":        {Endpoint{"tcp6", "6"}, "ncat -v -6 -l -k ::1 PORT -e /bin/cat", "Listening on ::1:PORT", modest},
		"ncat udp4":        {Endpoint{"udp4", "4"}, "ncat -v -u -l 127.0.0.1 PORT -e /bin/cat", "Listening on 127.0.0.1:PORT", datagram},
		"ncat udp6":        {Endpoint{"udp6", "6"}, "ncat -v -6 -u -l ::1 PORT -e /bin/cat", "Listening on ::1:PORT", datagram},
		"ncat unix":        {Endpoint{"unix", path("n")}, "ncat -v -l -k -U PATH -e /bin/cat", "Listening on PATH", modest},
		"ncat unixgram":    {Endpoint{"unixgram", path("nd")}, "ncat -v -l -u -U PATH -e /bin/cat", "Listening on PATH", datagram},
	} {
		t.Run(name, func(t *testing.T) {
			port := ""
			switch test.ep.Address {
			case "4":
				port = freePort(t, test.ep.Network)
				test.ep.Address = "127.0.0.1:" + port
			case "6":
				needIPv6(t)
				port = freePort(t, test.ep.Network)
				test.ep.Address = "[::1]:" + port
			}
			fill := strings.NewReplacer("PORT", port, "PATH", test.ep.Address)
			args := strings.Fields(fill.Replace(test.args))
			start(t, program(t, args[0], args[1:]...), fill.Replace(test.ready))
			cfgs := []*ClientConfig{{Count: 10, Size: 1000}}
			switch test.can {
			case stream:
				cfgs = []*ClientConfig{{Count: 10}, {Count: 3, Size: 1 << 20}, {Count: 5, HalfClose: true}}
			case modest:
				cfgs = []*ClientConfig{{Count: 10}, {Count: 3, Size: 30_000}}
			}
			for _, cfg := range cfgs {
				cfg.Timeout = longest
				if res := mustSend(t, test.ep, cfg); test.can != datagram && res.End != EndEOF {
					t.Errorf("end: %v", res.End)
				}
			}
		})
	}
}

// everyTransport serves one of each kind.
func everyTransport(t *testing.T, errs *errorList) map[string]Endpoint {
	t.Helper()
	dir := t.TempDir()
	want := []Endpoint{
		{"tcp4", "127.0.0.1:0"},
		{"udp4", "127.0.0.1:0"},
		{"unix", filepath.Join(dir, "s")},
		{"unixgram", filepath.Join(dir, "d")},
		{"unixpacket", filepath.Join(dir, "p")},
		{"unix", fmt.Sprintf("@finack-everywhere-%d", os.Getpid())},
	}
	if hasIPv6() {
		want = append(want, Endpoint{"tcp6", "[::1]:0"}, Endpoint{"udp6", "[::1]:0"})
	}
	_, bound := serve(t, &ServerConfig{OnError: errs.add, CloseDelay: 10 * time.Millisecond}, want...)
	eps := map[string]Endpoint{}
	for _, ep := range bound {
		name := ep.Network
		if strings.HasPrefix(ep.Address, "@") {
			name = "abstract"
		}
		eps[name] = ep
	}
	return eps
}

// Other clients write everything, end their direction and read the answers to
// the end: what comes back is what was sent. Where there is no end to read, or
// the client does not wait for it, it is stopped when everything has come.
func TestOtherClientsWithOurServer(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	eps := everyTransport(t, &errs)
	dir := t.TempDir()
	for i, test := range []struct {
		network string
		size    int
		args    string // ADDR is the address, HOST and PORT its parts, OWN a path of the client's own
	}{
		{"tcp4", 1 << 20, "socat -t20 - TCP4:ADDR"},
		{"tcp6", 1 << 20, "socat -t20 - TCP6:ADDR"},
		{"udp4", 1000, "socat -t20 - UDP4:ADDR"},
		{"udp6", 1000, "socat -t20 - UDP6:ADDR"},
		{"unix", 1 << 20, "socat -t20 - UNIX-CONNECT:ADDR"},
		{"unix", 1 << 20, "socat -t20 - UNIX-CLIENT:ADDR"},
		{"abstract", 1 << 20, "socat -t20 - ABSTRACT-CONNECT:ADDR"},
		{"unixgram", 1000, "socat -t20 - UNIX-SENDTO:ADDR,bind=OWN"},
		{"unixgram", 1000, "socat -t20 - UNIX-CLIENT:ADDR,bind=OWN"},
		{"unixpacket", 5000, "socat -t20 - UNIX-CONNECT:ADDR,type=5"},
		{"tcp4", 1 << 20, "ncat HOST PORT"},
		{"tcp6", 1 << 20, "ncat -6 HOST PORT"},
		{"udp4", 1000, "ncat -u HOST PORT"},
		{"udp6", 1000, "ncat -6 -u HOST PORT"},
		{"unix", 1 << 20, "ncat -U ADDR"},
		{"unixgram", 1000, "ncat -u -U ADDR"},
	} {
		t.Run(test.network+" "+test.args, func(t *testing.T) {
			ep, ok := eps[test.network]
			if !ok {
				needIPv6(t)
			}
			host, port, _ := net.SplitHostPort(ep.Address)
			own := filepath.Join(dir, fmt.Sprint("own", i))
			args := strings.Fields(strings.NewReplacer("ADDR", strings.TrimPrefix(ep.Address, "@"), "HOST", host, "PORT", port, "OWN", own).Replace(test.args))
			out, in := make([]byte, test.size), make([]byte, test.size+1)
			fill(out, 1)
			cmd := program(t, args[0], args[1:]...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = stdin.Write(out)
				if !ep.isDatagram() {
					stdin.Close()
				}
			}()
			n := 0
			if ep.isDatagram() {
				n, err = io.ReadFull(stdout, in[:test.size])
				_ = cmd.Cancel()
			} else {
				n, err = io.ReadFull(stdout, in) // until its end
				if err == io.ErrUnexpectedEOF {
					err = nil
				}
			}
			waitErr := cmd.Wait()
			if !ep.isDatagram() && waitErr != nil {
				err = errors.Join(err, waitErr)
			}
			if err != nil || !bytes.Equal(in[:n], out) {
				t.Errorf("%d of %d bytes came back, %v\n%s", n, len(out), err, stderr.String())
			}
		})
	}
	errs.none(t)
}

func TestPythonsSocketsWithOurServer(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	for name, ep := range everyTransport(t, &errs) {
		t.Run(name, func(t *testing.T) {
			size := 100_000
			if strings.HasPrefix(ep.Network, "udp") {
				size = 65507
			}
			cmd := program(t, "python3", filepath.Join("testdata", "client.py"), ep.Network, ep.Address, fmt.Sprint(size))
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "as sent\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	errs.none(t)
}
