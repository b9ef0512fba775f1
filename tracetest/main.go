package tracetest

import (
	"errors"
	"os"
	"testing"

	"finack/capture"
	"finack/internal/privnet"
)

// needMarker is the variable that turns a skip into a failure.
const needMarker = "FINACK_NEED_NETNS"

// Main runs the tests of m in a private network, whose loopback interface is up
// and carries nothing else, and exits. For that it runs the test binary again,
// with the same arguments, and exits with that child's status, 128+n when signal
// n killed it. Where a private network is refused it runs the tests where they
// are.
//
// What TestMain does before it is done twice, in both processes.
func Main(m *testing.M) { os.Exit(privnet.Main(m)) }

// openLive opens a capture for a test; where that is not permitted the test is
// skipped, or fails when the environment says FINACK_NEED_NETNS=1. Outside of a
// private network, which was refused then, a privileged test captures what is there.
func openLive(t testing.TB, cfg *capture.LiveConfig) *capture.Live {
	t.Helper()
	inside, refused := privnet.Inside(), privnet.Refusal()
	if !inside && refused == "" {
		t.Fatalf("tracetest: TestMain does not call tracetest.Main")
	}
	live, err := capture.OpenLive(cfg)
	switch {
	case err == nil:
		return live
	case inside || !errors.Is(err, os.ErrPermission) && !errors.Is(err, errors.ErrUnsupported):
		t.Fatalf("tracetest: %v", err)
	case os.Getenv(needMarker) == "1":
		t.Fatalf("tracetest: private network: %s (%s=1)", refused, needMarker)
	default:
		t.Skipf("tracetest: private network: %s", refused)
	}
	return nil
}
