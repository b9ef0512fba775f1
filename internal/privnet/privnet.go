// Package privnet gives a program a private network without root: it runs the
// program again in new user and network namespaces, where it is root over a
// loopback interface of its own (user_namespaces(7), network_namespaces(7)).
package privnet

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// marker is the environment variable that tells a process where it runs:
//
//	PID         the child that process PID made runs in a private network
//	PID report  the same, and descriptor 3 takes the reason if Setup fails
//	PID fuzz    process PID itself and its fuzz workers run there
//	other text  a private network was tried and refused, for this reason
//
// Naming a process keeps grandchildren from believing it, although they inherit it.
const marker = "FINACK_PRIVNET"

// The words behind the process in marker.
const (
	kindReport = "report"
	kindFuzz   = "fuzz"
)

// The flags by which the go command's fuzzing shows: of a coordinator and of a
// worker, which is a coordinator run again with one more.
const (
	fuzzFlag       = "test.fuzz"
	fuzzWorkerFlag = "test.fuzzworker"
)

// needMarker is the variable that turns a skip of Require into a failure.
const needMarker = "FINACK_NEED_NETNS"

// reportFD is the descriptor of "PID report": the first of exec.Cmd's ExtraFiles.
const reportFD = 3

// Error says why there is no private network, in words a user can act on. It
// comes from policy or the platform, never from the program that was run.
type Error struct {
	Reason string // e.g. "user namespaces are forbidden here (user.max_user_namespaces is 0): use sudo"
	Err    error  // what the kernel said; nil where it was not asked
}

func (e *Error) Error() string { return "private network: " + e.Reason }

// Unwrap returns what the kernel said.
func (e *Error) Unwrap() error { return e.Err }

// ErrAddress is the refusal of RouteAddress to take an address.
var ErrAddress = errors.New("cannot be a host of its own")

// Inside reports whether this process is the child that Run or Main started in
// a private network. A process that this child starts is not.
func Inside() bool {
	pid, kind := parseMarker()
	switch {
	case pid == 0:
		return false
	case kind == kindFuzz:
		return pid == os.Getpid() || pid == os.Getppid() && hasFlag(os.Args, fuzzWorkerFlag)
	}
	return pid == os.Getppid()
}

// parseMarker returns the process that the marker names, 0 for none, and the word behind it.
func parseMarker() (pid int, kind string) {
	name, kind, _ := strings.Cut(os.Getenv(marker), " ")
	pid, err := strconv.Atoi(name)
	if err != nil || pid <= 0 {
		return 0, ""
	}
	return pid, kind
}

// Refusal returns why Main runs the tests outside, "" when no private network
// was refused.
func Refusal() string {
	v := os.Getenv(marker)
	if pid, _ := parseMarker(); pid != 0 {
		return ""
	}
	return v
}

// Run runs this program again in a private network, with the same arguments,
// environment, working directory and standard files, and returns its exit
// status: 128+n when signal n killed it. The child must call Setup first and
// print its error: Run does not know of it. An *Error means that the
// namespaces were refused.
//
// The child stays in the terminal's process group, so that Ctrl-C reaches it
// directly; signals meant for this process alone (INT, QUIT, TERM, HUP) are
// passed on. It is killed when this process dies.
func Run() (status int, err error) { return run(nil) }

// Main is for a package's TestMain, as os.Exit(privnet.Main(m)): it runs the
// test binary again in a private network and returns the child's status, so
// that every test runs there. Where that is refused, the tests run outside,
// and those that call Require are skipped.
//
// Fuzz workers run where their coordinator does, without another child.
func Main(m interface{ Run() int }) int {
	switch {
	case hasFlag(os.Args, fuzzWorkerFlag) || Refusal() != "":
		return m.Run()
	case Inside():
		if setupReporting() != nil {
			return 1
		}
		if hasFlag(os.Args, fuzzFlag) {
			// The workers are children of this process: let them know.
			if err := os.Setenv(marker, strconv.Itoa(os.Getpid())+" "+kindFuzz); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}
	status, err := runReporting()
	if refused := (*Error)(nil); errors.As(err, &refused) {
		if err = os.Setenv(marker, refused.Reason); err == nil {
			return m.Run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// runReporting is Run with the error of the child's Setup.
func runReporting() (status int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("private network: %w", err)
	}
	defer r.Close()
	status, err = run(w)
	w.Close()
	if err != nil {
		return 0, err
	}
	// The child has ended, and a reason fits a pipe: this does not wait.
	reason := make([]byte, 4096)
	if n, _ := r.Read(reason); n > 0 {
		return 0, &Error{Reason: string(reason[:n])}
	}
	return status, nil
}

// setupReporting is Setup in the child of runReporting.
func setupReporting() error {
	err := Setup()
	if _, kind := parseMarker(); kind == kindReport {
		w := os.NewFile(reportFD, "report")
		defer w.Close() // the tests' own children must not inherit it
		if refused := (*Error)(nil); errors.As(err, &refused) {
			_, _ = w.WriteString(refused.Reason)
			return err
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return err
}

// hasFlag reports whether args hold the flag -name or --name, with any value but the empty one.
func hasFlag(args []string, name string) bool {
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		arg = strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if flag, value, ok := strings.Cut(arg, "="); flag == name && (!ok || value != "") {
			return true
		}
	}
	return false
}

// Require skips the test with the reason when it does not run in a private
// network; it fails instead when the environment says FINACK_NEED_NETNS=1. The
// test binary's TestMain must use Main.
func Require(t interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
},
) {
	t.Helper()
	if Inside() {
		return
	}
	reason := Refusal()
	switch {
	case reason == "":
		t.Fatalf("private network: TestMain does not use privnet.Main")
	case os.Getenv(needMarker) == "1":
		t.Fatalf("private network: %s (%s=1)", reason, needMarker)
	default:
		t.Skipf("private network: %s", reason)
	}
}
