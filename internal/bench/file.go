package bench

import (
	"encoding/binary"
	"io"
)

// file writes a pcap file (draft-ietf-opsawg-pcap). Its first error stays.
type file struct {
	w       io.Writer
	buf     []byte
	micros  bool
	packets uint64
	bytes   uint64
	err     error
}

const (
	bufSize   = 256 << 10
	snaplen   = 262_144
	maxRecord = 2048 // of ours, with its header
	// epoch is when captures begin: 2026-01-02T03:04:05Z.
	epoch = 1_767_323_045 * second
)

// Time in a capture is in nanoseconds since 1970.
const (
	microsecond = 1_000
	millisecond = 1_000_000
	second      = 1_000_000_000
)

func (f *file) header() {
	magic := uint32(0xa1b23c4d)
	if f.micros {
		magic = 0xa1b2c3d4
	}
	le := binary.LittleEndian
	b := le.AppendUint32(f.buf[:0], magic)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, snaplen)
	f.buf = le.AppendUint32(b, 1) // LINKTYPE_ETHERNET
}

// record returns room for a frame of n bytes, stamped now.
func (f *file) record(now int64, n int) []byte {
	if len(f.buf)+maxRecord > bufSize {
		f.flush()
	}
	f.packets++
	sec, frac := now/second, now%second
	if f.micros {
		frac /= microsecond
	}
	at := len(f.buf)
	f.buf = f.buf[:at+16+n]
	h := f.buf[at:]
	le := binary.LittleEndian
	le.PutUint32(h, uint32(sec))
	le.PutUint32(h[4:], uint32(frac))
	le.PutUint32(h[8:], uint32(n))
	le.PutUint32(h[12:], uint32(n))
	return h[16:]
}

func (f *file) flush() {
	if f.err == nil {
		_, f.err = f.w.Write(f.buf)
	}
	f.bytes += uint64(len(f.buf))
	f.buf = f.buf[:0]
}
