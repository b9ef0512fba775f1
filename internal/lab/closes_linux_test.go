package lab

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"finack/decode"
	"finack/internal/privnet"
	"finack/trace"
)

// A wire that loses no segment, or another one, leads elsewhere: each scenario
// notices that, and says what was missing.
func TestClosesOnAnotherWire(t *testing.T) {
	privnet.Require(t)
	lossless := make([]privnet.Rule, 2) // they match, and do nothing
	noRST := []privnet.Rule{{Flags: decode.RST, Drop: true}}
	for _, tt := range []struct {
		scenario *Scenario
		wire     []privnet.Rule
		want     string
	}{
		{lostFIN(), lossless, "the wire has lost no frame, and holds none, by its rule 0"},
		{lostLastACK(), lossless, "the wire has lost no frame, and holds none, by its rule 0"},
		{crossingFINs(), lossless, "the wire has lost no frame, and holds none, by its rule 0"},
		{crossingFINsOneLost(), crossingFINs().wire, "want [CLOSING FIN_WAIT_2] and [CLOSING FIN_WAIT_2]"},
		{lostRST(), lossless, "the wire has lost no frame, and holds none, by its rule 0"},
		{halfClose(), []privnet.Rule{{From: privnet.A, Flags: decode.FIN, Drop: true}}, "has not returned in 800ms; want the end of file"},
		{orphanFinWait2(), noRST, "want [CLOSED CLOSED] and [CLOSED CLOSED]"},
		{rstUnreadData(), noRST, "in [ESTABLISHED ESTABLISHED] by the wire and in [ESTABLISHED CLOSED] by the kernel"},
		{rstLinger0(), noRST, "in [CLOSED CLOSED] by the wire and in [CLOSED ESTABLISHED] by the kernel"},
		{rstWriteToClosed(), noRST, "in [CLOSE_WAIT FIN_WAIT_2] by the wire and in [CLOSE_WAIT CLOSED] by the kernel"},
		{rstToNothing(), noRST, "in [ESTABLISHED ESTABLISHED] by the wire and in [ESTABLISHED CLOSED] by the kernel"},
	} {
		t.Run(tt.scenario.Name, func(t *testing.T) {
			sc := tt.scenario
			sc.wire, sc.wait = tt.wire, 800*time.Millisecond
			if sc.Name == "orphan-fin-wait-2" {
				sc.wait = 2 * time.Second // it takes one
			}
			var out bytes.Buffer
			err := Run(t.Context(), &out, []*Scenario{sc}, nil)
			if failure := (*CheckError)(nil); !errors.As(err, &failure) {
				t.Errorf("%v, want a failed check", err)
			}
			said := strings.Join(strings.Fields(out.String()), " ")
			if !strings.Contains(said, "FAILED") || !strings.Contains(said, tt.want) {
				t.Errorf("nothing of %q in\n%s", tt.want, &out)
			}
		})
	}
}

// What is checked beside the verdict fails where it is otherwise.
func TestCloseChecks(t *testing.T) {
	withData := trace.Conn{Steps: [6]trace.Step{{Seq: 101}, {Ack: 109}}}
	dataBefore := withData
	dataBefore.Steps[0].Seq = 108
	half := trace.Conn{HalfClose: trace.HalfClose{Seen: true, By: trace.Client, Bytes: 34}}
	again := trace.Conn{Retransmits: [2]uint32{1, 0}, FIN: [2]uint32{2, 1}}
	data := trace.Conn{Retransmits: [2]uint32{1, 0}, FIN: [2]uint32{1, 1}}
	reset := resetBy(trace.Server, trace.HalfClosed, trace.ClosedByServer, 1).also
	bare := trace.Conn{ResetBy: trace.Server, RST: [2]uint32{0, 1}}
	after := bare
	after.ResetAfter = trace.HalfClosed
	twice := after
	twice.RST[trace.Server] = 2
	busy := twice
	busy.Retransmits[trace.Client] = 1
	for _, tt := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"data with the FIN", finCarries(&withData, 7), true},
		{"data before the FIN", finCarries(&dataBefore, 7), false},
		{"half-close", halfClosedBy(&half, trace.Client, 34), true},
		{"fewer bytes", halfClosedBy(&half, trace.Client, 35), false},
		{"more bytes", halfClosedBy(&half, trace.Client, 33), false},
		{"by the other", halfClosedBy(&half, trace.Server, 34), false},
		{"FIN again", finSentAgain(&again, trace.Client), true},
		{"the other's FIN", finSentAgain(&again, trace.Server), false},
		{"two RSTs", reset(&twice), false},
		{"two RSTs for two segments", reset(&busy), true},
		{"data again", finSentAgain(&data, trace.Client), false},
		{"reset after a half-close", reset(&after), true},
		{"reset after nothing", reset(&bare), false},
	} {
		if failure := (*CheckError)(nil); tt.ok != (tt.err == nil) || !tt.ok && !errors.As(tt.err, &failure) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
}
