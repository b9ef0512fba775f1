// Package capture delivers frames: from a live interface, from sockets with an
// explicit protocol, from a pcap or pcapng file, from standard input; and writes
// them to files.
package capture

import (
	"time"

	"finack/decode"
)

// Source delivers frames in the order in which they were captured. One
// goroutine reads; another may only call Close or SetReadDeadline.
type Source interface {
	// ReadFrame fills f, reusing the capacity of f.Data. It returns io.EOF at
	// a file's end, os.ErrDeadlineExceeded when a deadline has passed and
	// net.ErrClosed after Close. After a deadline it may be called again.
	ReadFrame(f *decode.Frame) error
	// SetReadDeadline bounds ReadFrame, also one under way; zero: no bound.
	// Files ignore it.
	SetReadDeadline(t time.Time) error
	// Stats returns totals since the source was opened; it works after Close.
	Stats() (Stats, error)
	// Close ends the source and a ReadFrame under way; it is idempotent.
	Close() error
}

// Stats counts frames since a source was opened.
type Stats struct {
	Frames    uint64 // handed out by ReadFrame
	Received  uint64 // that passed the filter, lost ones included; a file: read from it, filtered ones included
	Dropped   uint64 // lost because the reader was too slow (packet(7), PACKET_STATISTICS; SO_MEMINFO of sockets)
	LoCopies  uint64 // outgoing copies on the loopback interface, left out
	BadStamps uint64 // frames with an impossible timestamp, kept
}
