package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"finack/decode"
	"finack/internal/privnet"
)

// Without its cause a scenario does not go as it says, and says how it went.
func TestOdditiesNeedTheirCause(t *testing.T) {
	for _, tt := range []struct {
		of   *Scenario
		wire []privnet.Rule
		want string
	}{
		{lostData(), []privnet.Rule{{From: privnet.A, Flags: decode.PSH, Nth: burst, Drop: true}}, "1 ACKs ask for the lost segment"},
		{reorderedData(), nil, "queued no segment that came early"},
		{udpBadWire(), nil, "[1 2 3 4 5 6], want [1 3 3 5 4 6]"},
		{udpBadWire(), []privnet.Rule{numbered(2, privnet.Rule{Duplicate: true})}, "[1 2 2 3 4 5], want"},
	} {
		privnet.Require(t)
		tt.of.wire = tt.wire
		var out bytes.Buffer
		err := Run(t.Context(), &out, []*Scenario{tt.of}, nil)
		if failure := (*CheckError)(nil); !errors.As(err, &failure) || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), tt.want) {
			t.Errorf("%s: %v, want %q in\n%s", tt.of.Name, err, tt.want, &out)
		}
	}
}

// A call that returns something else fails the scenario, which says all of them.
func TestCallsAreChecked(t *testing.T) {
	var c calls
	s := &stage{}
	c.did("client: write(\"x\")", 1, nil)
	c.did("client: close()", 0, os.ErrClosed)
	err := s.tell("Two calls:", &c, `client: write("x") = 1`, `client: close() = 0`)
	if failure := (*CheckError)(nil); !errors.As(err, &failure) || !strings.Contains(failure.Text, "= -1 file already closed; want") {
		t.Errorf("%v, want what close returned", err)
	}
	if len(s.seen) != 1 || strings.Count(s.seen[0], "\n") != 2 || len(c.lines) != 0 {
		t.Errorf("said %q, left %q", s.seen, c.lines)
	}
	c.did("client: read()", 0, io.EOF)
	if err := s.tell("One:", &c, "client: read() = 0"); err != nil {
		t.Error(err)
	}
}

func TestReturned(t *testing.T) {
	for want, got := range map[string]string{
		"5":               returned(5, nil),
		"0":               returned(0, io.EOF),
		"-1 EPIPE":        returned(0, &net.OpError{Err: os.NewSyscallError("write", syscall.EPIPE)}),
		"-1 EAGAIN":       returned(-1, fmt.Errorf("x: %w", syscall.EAGAIN)),
		"-1 i/o timeout":  returned(0, os.ErrDeadlineExceeded),
		"-1 no such host": returned(0, errors.New("no such host")),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
