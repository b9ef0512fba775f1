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
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		ln, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr = ln.Addr()
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return port
}

func TestOurClientWithOtherServers(t *testing.T) {
	nothingLeft(t)
	t.Run("socat tcp", func(t *testing.T) {
		port := freePort(t, "tcp4")
		start(t, program(t, "socat", "-d", "-d", "TCP4-LISTEN:"+port+",bind=127.0.0.1,fork,reuseaddr", "EXEC:cat"), "listening on")
		for _, cfg := range []*ClientConfig{{Count: 10}, {Count: 3, Size: 1 << 20}, {Count: 5, HalfClose: true}} {
			if res := mustSend(t, Endpoint{"tcp", "127.0.0.1:" + port}, cfg); res.End != EndEOF {
				t.Errorf("end: %v", res.End)
			}
		}
	})
	t.Run("socat udp", func(t *testing.T) {
		port := freePort(t, "udp4")
		start(t, program(t, "socat", "-d", "-d", "UDP4-LISTEN:"+port+",bind=127.0.0.1", "PIPE"), "listening on")
		mustSend(t, Endpoint{"udp", "127.0.0.1:" + port}, &ClientConfig{Count: 10, Size: 1000})
	})
	t.Run("socat unix", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		start(t, program(t, "socat", "-d", "-d", "UNIX-LISTEN:"+path+",fork", "EXEC:cat"), "listening on")
		mustSend(t, Endpoint{"unix", path}, &ClientConfig{Count: 10, Size: 1000})
	})
	t.Run("ncat tcp", func(t *testing.T) {
		port := freePort(t, "tcp4")
		start(t, program(t, "ncat", "-v", "-l", "-k", "127.0.0.1", port, "-e", "/bin/cat"), "Listening on 127.0.0.1:"+port)
		// ncat -e stops at the EOF, whatever cat has still to say, and stops
		// both ways while one pipe to cat is full: no half-close, no long
		// messages.
		for _, cfg := range []*ClientConfig{{Count: 10}, {Count: 3, Size: 30_000}} {
			if res := mustSend(t, Endpoint{"tcp", "127.0.0.1:" + port}, cfg); res.End != EndEOF {
				t.Errorf("end: %v", res.End)
			}
		}
	})
	t.Run("ncat udp", func(t *testing.T) {
		port := freePort(t, "udp4")
		start(t, program(t, "ncat", "-v", "-u", "-l", "127.0.0.1", port, "-e", "/bin/cat"), "Listening on 127.0.0.1:"+port)
		mustSend(t, Endpoint{"udp", "127.0.0.1:" + port}, &ClientConfig{Count: 10, Size: 1000})
	})
}

// Other clients write everything, end their direction and read the answers to
// the end: what comes back is what was sent.
func TestOtherClientsWithOurServer(t *testing.T) {
	nothingLeft(t)
	var errs errorList
	dir := t.TempDir()
	_, eps := serve(t, &ServerConfig{OnError: errs.add, CloseDelay: 10 * time.Millisecond},
		Endpoint{"tcp4", "127.0.0.1:0"}, Endpoint{"udp4", "127.0.0.1:0"},
		Endpoint{"unix", filepath.Join(dir, "s")}, Endpoint{"unixgram", filepath.Join(dir, "d")}, Endpoint{"unixpacket", filepath.Join(dir, "p")})
	tcp, udp := eps[0].Address, eps[1].Address
	host, port, _ := net.SplitHostPort(tcp)
	_, udpPort, _ := net.SplitHostPort(udp)
	for _, test := range []struct {
		size int
		args []string
	}{
		{1 << 20, []string{"socat", "-t5", "-", "TCP4:" + tcp}},
		{1 << 20, []string{"socat", "-t5", "-", "UNIX-CONNECT:" + eps[2].Address}},
		{5000, []string{"socat", "-t5", "-", "UNIX-CONNECT:" + eps[4].Address + ",type=5"}},
		{1000, []string{"socat", "-t0.3", "-", "UDP4:" + udp}},
		{1000, []string{"socat", "-t0.3", "-", "UNIX-SENDTO:" + eps[3].Address + ",bind=" + filepath.Join(dir, "c")}},
		{1 << 20, []string{"ncat", host, port}},
		{1 << 20, []string{"ncat", "-U", eps[2].Address}},
		{1000, []string{"ncat", "-u", "-i", "300ms", host, udpPort}},
	} {
		t.Run(fmt.Sprint(test.args[0], test.args[len(test.args)-1]), func(t *testing.T) {
			out := make([]byte, test.size)
			fill(out, 1)
			cmd := program(t, test.args[0], test.args[1:]...)
			var in, stderr bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(out), &in, &stderr
			var err error
			if test.args[0] == "ncat" && test.args[1] == "-u" {
				// It ends with its input, without waiting for answers: keep
				// that open until its idle timeout ends it.
				cmd.Stdin = nil
				stdin, pipeErr := cmd.StdinPipe()
				if err = errors.Join(pipeErr, cmd.Start()); err == nil {
					_, err = stdin.Write(out)
					_ = cmd.Wait()
				}
			} else {
				err = cmd.Run()
			}
			if err != nil || !bytes.Equal(in.Bytes(), out) {
				t.Errorf("%d of %d bytes came back, %v\n%s", in.Len(), len(out), err, stderr.String())
			}
		})
	}
	errs.none(t)
}
