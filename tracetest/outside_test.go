package tracetest_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"finack/tracetest"
)

// The module in testdata/outside uses this one as any other would.
const outside = "testdata/outside"

// goTool returns a command of the go tool in that module. Its go.mod and go.sum
// may lag behind this module's dependencies, and there may be no network to
// complete them: the command has others, with all that this module has.
func goTool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go command: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile("../" + name)
		if name == "go.mod" {
			b = bytes.Replace(b, []byte("module finack"), []byte("module example.com/outside"), 1)
			b = append(b, "require finack v0.0.0\nreplace finack => ../../..\n"...)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{args[0], "-mod=mod", "-modfile=" + filepath.Join(dir, "go.mod")}, args[1:]...)
	return program(outside, path, args...)
}

// program returns a command that is run in a directory.
func program(dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	return cmd
}

// wantStatus runs a command, which must end so and print all of these.
func wantStatus(t *testing.T, cmd *exec.Cmd, status int, parts ...string) (text string) {
	t.Helper()
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text = string(b)
	bad := cmd.ProcessState.ExitCode() != status
	for _, part := range parts {
		bad = bad || !strings.Contains(text, part)
	}
	if bad {
		t.Errorf("%s: %v, want status %d and %q; printed:\n%s", strings.Join(cmd.Args, " "), cmd.ProcessState, status, parts, text)
	}
	for _, name := range captures(strings.ReplaceAll(text, "        capture: ", "capture: ")) {
		t.Cleanup(func() { os.Remove(name) })
	}
	return text
}

func TestAnotherModulesTests(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles another module")
	}
	t.Parallel()
	tracetest.Start(t) // or skip
	text := wantStatus(t, goTool(t, "test", "-count=1", "-v", "./..."), 0, "--- PASS: TestEchoAnswersFINWithFIN", "ok  \texample.com/outside")
	if strings.Contains(text, "SKIP") {
		t.Errorf("a test was skipped:\n%s", text)
	}
	text = wantStatus(t, goTool(t, "test", "-count=1", "-tags=deliberate", "-run=^TestFails$", "./..."), 1,
		"--- FAIL: TestFails", "want the server to close first, got: the client",
		"SYN_SENT        SYN seq=0", "        >> ", "FIN_WAIT_1", "closed by client", "FAIL\texample.com/outside")
	name := captures(strings.ReplaceAll(text, "        capture: ", "capture: "))
	if len(name) != 1 || framesIn(t, name[0]) < 8 {
		t.Errorf("want one capture of the connection, got %q", name)
	}
}

// Whatever happens in the private network, its outcome is go test's, and what go
// test's flags ask for is there.
func TestTheOutcomeOfATestBinaryIsItsChilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles another module")
	}
	t.Parallel()
	tracetest.Start(t) // or skip
	dir := t.TempDir()
	binary := filepath.Join(dir, "outside.test")
	wantStatus(t, goTool(t, "test", "-c", "-cover", "-tags=deliberate", "-o", binary, "."), 0)

	profile := filepath.Join(dir, "profile")
	for _, tt := range []struct {
		args   string
		status int
		parts  []string
	}{
		{"-test.run=^TestEcho -test.v", 0, []string{"--- PASS: TestEcho"}},
		{"-test.run=^TestEcho -test.v=test2json", 0, []string{"--- PASS: TestEcho"}},
		{"-test.run=^TestEcho -test.coverprofile=" + profile, 0, []string{"coverage: 100.0% of statements"}},
		{"-test.run=^$ -test.bench=. -test.benchtime=3x", 0, []string{"BenchmarkEcho"}},
		{"-test.run=^$ -test.fuzz=^FuzzEcho$ -test.fuzztime=20x -test.parallel=2 -test.fuzzcachedir=" + dir, 0, []string{"fuzz: elapsed", "PASS"}},
		{"-test.list=^Test", 0, []string{"TestFails\nTestPanics\n"}},
		{"-test.run=^TestFails -test.artifacts -test.outputdir=" + dir, 1, []string{"capture: " + filepath.Join(dir, "_artifacts")}},
		{"-test.run=^TestPanics", 2, []string{"panic: deliberate"}},
		{"-test.run=^TestExits$", 3, nil},
		{"-test.run=^TestExitsWithZero -test.paniconexit0", 2, []string{"unexpected call to os.Exit(0) during test"}},
		{"-test.run=^TestIsKilled", 128 + 9, nil},
		{"-test.run=^TestHangs -test.timeout=300ms", 2, []string{"panic: test timed out after 300ms"}},
	} {
		wantStatus(t, program(outside, binary, strings.Fields(tt.args)...), tt.status, tt.parts...)
	}
	if b, err := os.ReadFile(profile); err != nil || !strings.HasPrefix(string(b), "mode: ") {
		t.Errorf("the profile is %q, %v", b, err)
	}
	text := wantStatus(t, program(outside, binary, "-test.run=^TestEcho", "-test.v", "-test.count=3", "-test.cpu=1,2"), 0)
	if n := strings.Count(text, "--- PASS: TestEcho"); n != 6 {
		t.Errorf("%d runs, want 3 on each number of processors:\n%s", n, text)
	}
}
