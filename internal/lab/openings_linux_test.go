package lab

import (
	"bytes"
	"cmp"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"finack/decode"
	"finack/internal/privnet"
)

func TestSYNPatience(t *testing.T) {
	for _, tt := range []struct {
		retries, linear int
		want            time.Duration
	}{
		{6, 4, 131 * time.Second}, // Linux's own, ip-sysctl says
		{6, 0, 127 * time.Second}, // and before 6.5
		{1, 0, 3 * time.Second},
		{0, 0, time.Second},
		{8, 0, (127 + 2*120) * time.Second}, // a timeout is at most 120 s
	} {
		if got := synPatience(tt.retries, tt.linear); got != tt.want {
			t.Errorf("%d retries, %d linear: %v, want %v", tt.retries, tt.linear, got, tt.want)
		}
	}
}

// Without its cause a scenario goes otherwise, and says what was missing.
func TestOpeningsWithoutTheirCause(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		scenario *Scenario
		wire     []privnet.Rule       // instead of its own
		first    func(s *stage) error // happens before it
		instead  func(s *stage) error // of it
		wait     time.Duration        // for what does not come; 0: 1500 ms
		want     string               // in what it says
		late     string               // or this, where the machine is slow
	}{
		{scenario: refused(), first: serves, want: "connect(10.9.0.2:7007): <nil>; want errno 111"},
		{scenario: lostSYN(), want: "the SYN is lost: client and server are in"},
		{scenario: lostSYNACK(), wire: lostSYN().wire, want: "in [SYN_SENT CLOSED] by the kernel; want"},
		{scenario: lostFinalACK(), want: "in [ESTABLISHED ESTABLISHED] by the kernel; want"},
		{scenario: unansweredSYN(), want: "in [CLOSED CLOSED] by the kernel; want", late: "connection refused; want errno 110"},
		{scenario: fastOpen(), wire: secondSYNLost(), wait: 3 * time.Second, want: "in [ESTABLISHED ESTABLISHED] by the kernel; want"},
		{scenario: simultaneousOpen(), want: "both have sent a SYN: client and server are in"},
		{scenario: backlogOverflow(), instead: roomyBacklog, want: "has dropped no SYN"},
		{scenario: synCookies(), want: "in [ESTABLISHED ESTABLISHED] by the kernel; want"},
		{scenario: selfConnect(), first: servesItself, want: "connect(127.0.0.1:7007): connect"},
	} {
		t.Run(tt.scenario.Name, func(t *testing.T) {
			sc := tt.scenario
			run := sc.run
			if tt.wire == nil {
				tt.wire = []privnet.Rule{{Nth: 1e9}, {Nth: 1e9}} // to be lifted
			}
			sc.wire, sc.wait = tt.wire, cmp.Or(tt.wait, 1500*time.Millisecond)
			sc.run = func(s *stage) error {
				if tt.instead != nil {
					return tt.instead(s)
				}
				if tt.first != nil {
					if err := tt.first(s); err != nil {
						return err
					}
				}
				return run(s)
			}
			var out bytes.Buffer
			err := Run(t.Context(), &out, []*Scenario{sc}, nil)
			if failure := (*CheckError)(nil); !errors.As(err, &failure) {
				t.Errorf("%v, want a failed check", err)
			}
			said := strings.Join(strings.Fields(out.String()), " ")
			late := tt.late != "" && strings.Contains(said, tt.late)
			if !strings.Contains(said, "FAILED") || !strings.Contains(said, tt.want) && !late {
				t.Errorf("nothing of %q in\n%s", tt.want, &out)
			}
		})
	}
}

func serves(s *stage) error {
	_, err := s.listen(s.server, serverPort)
	return err
}

// servesItself has the service of the client's own host listen, at all its addresses.
func servesItself(s *stage) error {
	c, err := s.unbound(s.client)
	if err != nil {
		return err
	}
	return errors.Join(c.Bind(&net.TCPAddr{Port: serverPort}), c.Listen(1))
}

// secondSYNLost is a wire that loses the SYN with the data: it comes again
// without them, after 1 s.
func secondSYNLost() []privnet.Rule {
	return []privnet.Rule{{From: privnet.A, Flags: decode.SYN, Nth: 2, Drop: true}}
}

// roomyBacklog has the server listen with room for all.
func roomyBacklog(s *stage) error {
	ln, err := s.lazyListener(5)
	if err != nil {
		return err
	}
	return s.turnedAway(ln)
}
