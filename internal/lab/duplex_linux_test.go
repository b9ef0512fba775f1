package lab

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"finack/decode"
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
	verdict := func(kind trace.TeardownKind, half bool) trace.Event {
		return trace.Event{Kind: trace.ConnClosed, Verdict: &trace.Conn{
			Teardown: kind, Closer: trace.ClosedByClient, Complete: true,
			HalfClose: trace.HalfClose{Seen: half, By: trace.Client},
		}}
	}
	fin := segment(trace.Client, 0)
	fin.Flags = decode.FIN
	one, other, more := segment(trace.Client, 10), segment(trace.Server, 10), segment(trace.Server, duplexMore)
	less := segment(trace.Server, duplexMore-1)
	for _, tt := range []struct {
		name   string
		events []trace.Event
		want   string // "": fine
	}{
		{"fine", []trace.Event{one, other, one, fin, more, verdict(trace.FourStep, true)}, ""},
		{"one after the other", []trace.Event{one, one, fin, more, verdict(trace.FourStep, true)}, "not at once"},
		{"three steps", []trace.Event{one, other, one, fin, more, verdict(trace.ThreeStep, false)}, "three-step"},
		{"no half-close", []trace.Event{one, other, one, fin, more, verdict(trace.FourStep, false)}, "want four-step"},
		{"more before the FIN", []trace.Event{one, other, one, more, fin, verdict(trace.FourStep, true)}, ", 0 bytes by the server"},
		{"a byte too few", []trace.Event{one, other, one, fin, less, verdict(trace.FourStep, true)}, ", 999999 bytes by the server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := (&duplexResult{}).traced(tt.events)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
