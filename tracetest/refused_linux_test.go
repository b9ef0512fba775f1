package tracetest_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"finack/tracetest"
)

// refused returns this binary with one test, told that a private network was
// tried and refused.
func refused(env ...string) *exec.Cmd {
	cmd := program(".", "/proc/self/exe", "-test.run=^TestConnectionsAreFoundByTheirAddresses$", "-test.v")
	cmd.Env = append(cmd.Env, append([]string{"FINACK_PRIVNET=forbidden by a test", "FINACK_NEED_NETNS="}, env...)...)
	return cmd
}

// withoutRights has a command run in a user namespace that does not own its
// network: it may not capture there.
func withoutRights(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

func TestWithoutAPrivateNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("runs this binary four times")
	}
	t.Parallel()
	tracetest.Start(t) // or skip
	const reason = "tracetest: private network: forbidden by a test"
	wantStatus(t, withoutRights(refused()), 0, "--- SKIP", reason+"\n")
	wantStatus(t, withoutRights(refused("FINACK_NEED_NETNS=1")), 1, "--- FAIL", reason+" (FINACK_NEED_NETNS=1)\n")
	wantStatus(t, refused(), 0, "--- PASS") // privileged: with the loopback that is there
	wantStatus(t, refused("FINACK_PRIVNET=", "TRACETEST_PLAIN=1"), 1, "--- FAIL", "TestMain does not call tracetest.Main\n")
}
