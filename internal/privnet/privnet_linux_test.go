package privnet_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// roleEnv makes this test binary play a program that uses privnet, instead of
// running its tests.
const roleEnv = "PRIVNET_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	os.Exit(privnet.Main(m))
}

// quickRace keeps programs built with -race from sleeping a second before they end.
const quickRace = "GORACE=atexit_sleep_ms=0"

// play is a program such as finack: in the parent it runs itself, in the child
// it does what role says.
func play(role string) int {
	role, arg, _ := strings.Cut(role, " ")
	switch role {
	case "inside": // a grandchild: it inherits the marker and must not believe it
		fmt.Println(privnet.Inside())
		return 0
	case "main": // a test binary whose tests end with status arg
		return privnet.Main(fakeTests(arg))
	}
	if !privnet.Inside() {
		if role == "refused" {
			// The child's root gets no CAP_NET_ADMIN: namespaces are made and
			// then useless, as under Ubuntu's AppArmor policy.
			runtime.LockOSThread()
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0); err != nil {
				fmt.Println(err)
				return 1
			}
			if arg != "" {
				return privnet.Main(fakeTests(arg))
			}
		}
		status, err := privnet.Run()
		if err != nil {
			fmt.Println(err)
			return 3
		}
		return status
	}
	if role == "refused" && arg != "" {
		return privnet.Main(fakeTests(arg))
	}
	if err := privnet.Setup(); err != nil {
		fmt.Println(err)
		return 3
	}
	switch role {
	case "exit":
		status, _ := strconv.Atoi(arg)
		return status
	case "die":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "hang":
		fmt.Println("ready")
		for {
			time.Sleep(time.Hour)
		}
	case "signals": // counts what arrives until its input ends
		got := make(chan os.Signal, 16)
		signal.Notify(got, unix.SIGINT, unix.SIGTERM)
		fmt.Println("ready")
		sig := <-got
		// What comes twice comes at once; a second has long arrived then.
		time.Sleep(100 * time.Millisecond)
		fmt.Println(sig, 1+len(got))
		return 9
	}
	return 1
}

// fakeTests is a testing.M with one test, which requires a private network and
// makes Run return this number.
type fakeTests string

func (f fakeTests) Run() int {
	done := make(chan int)
	go func() {
		defer close(done)
		privnet.Require(fakeT{done})
		status, _ := strconv.Atoi(string(f))
		done <- status
	}()
	return <-done
}

type fakeT struct{ done chan int }

func (t fakeT) Helper() {}

func (t fakeT) Skipf(format string, args ...any) {
	fmt.Printf("skip: "+format+"\n", args...)
	t.done <- 0
	runtime.Goexit()
}

func (t fakeT) Fatalf(format string, args ...any) {
	fmt.Printf("fail: "+format+"\n", args...)
	t.done <- 1
	runtime.Goexit()
}

// program returns this binary in a role, with more environment.
func program(role string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(env, roleEnv+"="+role, quickRace)...)
	return cmd
}

// output runs cmd and returns its exit status and what it printed.
func output(t *testing.T, cmd *exec.Cmd) (status int, out string) {
	t.Helper()
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

func TestTheNetworkIsPrivate(t *testing.T) {
	privnet.Require(t)
	ifaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(ifaces) != 1 || ifaces[0].Name != "lo" || ifaces[0].Flags&net.FlagUp == 0 {
		t.Fatalf("interfaces are %+v, want lo alone, up", ifaces)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("a packet socket: %v", err)
	}
	unix.Close(fd)
}

func TestVethConnectsTwoInterfaces(t *testing.T) {
	privnet.Require(t)
	if err := privnet.Veth("va", "vb"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"va", "vb"} {
		iface, err := net.InterfaceByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if iface.Flags&net.FlagUp == 0 {
			t.Errorf("%s is not up", name)
		}
	}
	if err := privnet.Veth("va", "vb"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("again: %v, want EEXIST", err)
	}
	removeLink(t, "va")
}

func TestAGrandchildDoesNotBelieveTheMarker(t *testing.T) {
	privnet.Require(t)
	if !privnet.Inside() {
		t.Fatal("the child does not know where it is")
	}
	if status, out := output(t, program("inside")); status != 0 || out != "false\n" {
		t.Fatalf("the grandchild says %q, status %d", out, status)
	}
}

func TestTheChildsStatusIsReturned(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		role string
		want int
	}{
		{"exit 0", 0},
		{"exit 7", 7},
		{"die", 128 + 9},
		{"main 0", 0},
		{"main 1", 1},
		{"main 2", 2},
	} {
		if status, out := output(t, program(tt.role)); status != tt.want {
			t.Errorf("%s: status %d, want %d; printed %q", tt.role, status, tt.want, out)
		}
	}
}

// listening starts cmd and waits until its child says that it is ready; lines
// gives what it prints after that.
func listening(t *testing.T, cmd *exec.Cmd) (lines *bufio.Reader) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines = bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	return lines
}

func TestSignalsArePassedOn(t *testing.T) {
	privnet.Require(t)
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM} {
		cmd := program("signals")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
		lines := listening(t, cmd)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if line, _ := lines.ReadString('\n'); line != sig.String()+" 1\n" {
			t.Errorf("the child got %q, want %q once", line, sig)
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
			t.Errorf("%v: %v, want the child's status 9", sig, cmd.ProcessState)
		}

		cmd = program("hang")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		listening(t, cmd)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(sig) {
			t.Errorf("%v: %v, want status %d", sig, cmd.ProcessState, 128+int(sig))
		}
	}
}

func TestCtrlCReachesTheChildOnce(t *testing.T) {
	privnet.Require(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminal: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(int(n))), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()

	cmd := program("signals")
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	lines := listening(t, cmd)
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if line, _ := lines.ReadString('\n'); line != "interrupt 1\n" {
		t.Errorf("the child got %q, want one interrupt", line)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v, want the child's status 9", cmd.ProcessState)
	}
}

func TestTheChildDiesWithItsParent(t *testing.T) {
	privnet.Require(t)
	cmd := program("hang")
	lines := listening(t, cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lines) // ends when the child's standard output is closed
		ended <- err
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the child outlives its parent")
	}
	_ = cmd.Wait()
}

func TestARefusalInTheChildIsToldOnce(t *testing.T) {
	privnet.Require(t)
	status, out := output(t, program("refused"))
	if status != 3 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "private network: user namespaces are forbidden here (EPERM") {
		t.Fatalf("status %d, printed:\n%s", status, out)
	}
}

func TestMainRunsTheTestsOutsideWhenRefused(t *testing.T) {
	privnet.Require(t)
	status, out := output(t, program("refused 1", "FINACK_NEED_NETNS="))
	if status != 0 || !strings.HasPrefix(out, "skip: private network: user namespaces are forbidden here (") {
		t.Errorf("status %d, printed:\n%s", status, out)
	}
	status, out = output(t, program("refused 0", "FINACK_NEED_NETNS=1"))
	if status != 1 || !strings.HasPrefix(out, "fail: private network: user namespaces are forbidden here (") {
		t.Errorf("status %d with FINACK_NEED_NETNS=1, printed:\n%s", status, out)
	}
}

// This test makes a user namespace in which there may be no network namespace.
func TestTheLimitOnNamespacesIsNamed(t *testing.T) {
	privnet.Require(t)
	cmd := exec.Command("/bin/sh", "-c", "echo 0 >/proc/sys/user/max_net_namespaces || exit 77; exec "+os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=exit 0", quickRace)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	}
	status, out := output(t, cmd)
	if status == 77 {
		t.Skipf("the limit cannot be set here: %s", out)
	}
	want := "private network: network namespaces are forbidden here (user.max_net_namespaces is 0): raise it\n"
	if status != 3 || out != want {
		t.Fatalf("status %d, printed %q, want 3, %q", status, out, want)
	}
}

func TestSetupOutsideIsRefused(t *testing.T) {
	privnet.Require(t)
	t.Setenv("FINACK_PRIVNET", "")
	if err := privnet.Setup(); err == nil {
		t.Fatal("no error")
	}
}

// FuzzInside is fuzzed by TestFuzzWorkersAreInside.
func FuzzInside(f *testing.F) {
	f.Add([]byte("seed"))
	f.Fuzz(func(t *testing.T, _ []byte) {
		privnet.Require(t)
		if ifaces, err := net.Interfaces(); err != nil || len(ifaces) != 1 {
			t.Fatalf("a worker sees %v, %v", ifaces, err)
		}
	})
}

func TestFuzzWorkersAreInside(t *testing.T) {
	privnet.Require(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.fuzz=^FuzzInside$", "-test.fuzztime=50x",
		"-test.parallel=2", "-test.fuzzcachedir="+t.TempDir())
	cmd.Env = append(os.Environ(), "FINACK_NEED_NETNS=1", quickRace)
	if status, out := output(t, cmd); status != 0 || !strings.Contains(out, "PASS") {
		t.Fatalf("status %d:\n%s", status, out)
	}
}

func TestListingWorks(t *testing.T) {
	privnet.Require(t)
	cmd := exec.Command(os.Args[0], "-test.list=^TestListing")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	cmd.Env = append(os.Environ(), quickRace)
	if err := cmd.Run(); err != nil || stdout.String() != "TestListingWorks\n" {
		t.Fatalf("%v, printed %q", err, stdout.String())
	}
}

// removeLink removes an interface.
func removeLink(t *testing.T, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Error(err)
	}
}
