package lab

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"finack/trace"
)

// What a reader must notice: a byte that was not sent, an end too soon.
func TestDuplexReaderChecksEveryByte(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(o *oneWay, from io.WriteCloser)
		want  string
	}{
		{"another byte", func(o *oneWay, from io.WriteCloser) {
			buf := make([]byte, 2*duplexChunk)
			_, _ = o.data.Read(buf)
			buf[duplexChunk+1] ^= 1
			_, _ = from.Write(buf)
		}, "the client's data, from byte "},
		{"an end too soon", func(o *oneWay, from io.WriteCloser) {
			buf := make([]byte, duplexChunk)
			_, _ = o.data.Read(buf)
			_, _ = from.Write(buf)
		}, "the end after 50000 bytes, want 4000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := net.Pipe()
			defer to.Close()
			o := newOneWay("client", from, to, 1)
			var done sync.WaitGroup
			done.Go(func() {
				tt.spoil(o, from)
				_ = from.Close()
			})
			err := o.read()
			_ = to.Close()
			done.Wait()
			if check := (*CheckError)(nil); !errors.As(err, &check) || !strings.Contains(check.Text, tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// What the packets must show, and what would be noticed.
func TestDuplexChecksTheTrace(t *testing.T) {
	segment := func(from trace.Side, n int) trace.Event {
		return trace.Event{Kind: trace.SegmentSeen, From: from, Len: n, Ack: 1}
	}
	verdict := func(kind trace.TeardownKind, half bool, bytes uint64) trace.Event {
		return trace.Event{Kind: trace.ConnClosed, Verdict: &trace.Conn{
			Teardown: kind, Closer: trace.ClosedByClient, Complete: true,
			HalfClose: trace.HalfClose{Seen: half, By: trace.Client, Bytes: bytes},
		}}
	}
	one, other := segment(trace.Client, 10), segment(trace.Server, 10)
	for _, tt := range []struct {
		name   string
		events []trace.Event
		want   string // "": fine
	}{
		{"fine", []trace.Event{one, other, one, verdict(trace.FourStep, true, duplexMore)}, ""},
		{"one after the other", []trace.Event{one, one, other, verdict(trace.FourStep, true, duplexMore)}, "not at once"},
		{"three steps", []trace.Event{one, other, one, verdict(trace.ThreeStep, false, 0)}, "three-step"},
		{"no half-close", []trace.Event{one, other, one, verdict(trace.FourStep, false, 0)}, "want four-step"},
		{"a byte too few", []trace.Event{one, other, one, verdict(trace.FourStep, true, duplexMore-1)}, ", 999999 bytes by the server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := (&duplexResult{}).traced(tt.events)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
