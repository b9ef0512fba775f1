package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"finack/decode"
)

// Format is a capture file format.
type Format uint8

// The formats that a Writer writes.
const (
	FormatPcapng Format = iota // pcapng, with nanoseconds
	FormatPcap                 // pcap, with nanoseconds
)

// String returns "pcapng" or "pcap".
func (f Format) String() string {
	if f == FormatPcap {
		return "pcap"
	}
	return "pcapng"
}

// writeSize is how many bytes a Writer collects.
const writeSize = 256 << 10

// WriterConfig tells what to write. nil and the zero value: pcapng, frames of
// up to 262144 bytes.
type WriterConfig struct {
	// Format is that of NewWriter, and of CreateFile's "-".
	Format Format
	// Link is what a file without a frame says its link type is. One with
	// frames has theirs.
	Link decode.LinkType
	// Snaplen is the longest part of a frame that is written, in bytes; 0: 262144.
	Snaplen uint32
}

// Writer writes frames to a capture file, in the order in which they come. It
// is for one goroutine.
//
// Frames are collected; what is written, by Flush, Close or when there is
// enough, are whole records, so that a file is never torn. When a device is full,
// a file that CreateFile made is cut back to its last whole record.
//
// A pcapng file gets an interface for every pair of link type and Frame.Iface,
// numbered as they appear. A time before 1970, and in pcap after 2106, is
// written as the nearest that the format knows. Of Frame.Checksums only
// ChecksumsPartial is written, and only in pcapng.
type Writer struct {
	w       io.Writer
	name    string   // for errors
	file    *os.File // what CreateFile made; else nil
	format  Format
	link    decode.LinkType // of a pcap file
	snaplen int

	begun  bool   // the header is in buf or written
	buf    []byte // whole records
	done   int64  // bytes written
	ifaces map[ifaceKey]uint32
	last   ifaceKey // the last frame's interface
	lastID uint32
	err    error
}

type ifaceKey struct {
	link  decode.LinkType
	index uint32
}

// CreateFile makes a Writer of the file of that name, which is created or
// emptied: pcap if the name ends in .pcap or .cap, else pcapng. "-" is standard
// output, which Close leaves open, in the format that cfg names. The error is
// the system's *fs.PathError.
func CreateFile(name string, cfg *WriterConfig) (*Writer, error) {
	if name == "-" {
		return NewWriter(os.Stdout, cfg)
	}
	var c WriterConfig
	if cfg != nil {
		c = *cfg
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".pcap", ".cap":
		c.Format = FormatPcap
	case ".gz", ".zst":
		return nil, fmt.Errorf("create %s: compressed files are read, not written", name)
	default:
		c.Format = FormatPcapng
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w, err := NewWriter(file, &c)
	if err != nil {
		file.Close()
		return nil, err
	}
	w.file = file
	return w, nil
}

// NewWriter returns a Writer to w. Every Write that w gets is of whole records.
func NewWriter(w io.Writer, cfg *WriterConfig) (*Writer, error) {
	wr := &Writer{w: w, name: "capture", snaplen: maxSnaplen, buf: make([]byte, 0, writeSize)}
	if file, ok := w.(*os.File); ok {
		wr.name = file.Name()
	}
	if cfg == nil {
		return wr, nil
	}
	if cfg.Snaplen > maxSnaplen {
		return nil, fmt.Errorf("create %s: snapshot length %d: the most that is read back everywhere is %d", wr.name, cfg.Snaplen, maxSnaplen)
	}
	wr.format, wr.link = cfg.Format, cfg.Link
	if cfg.Snaplen > 0 {
		wr.snaplen = int(cfg.Snaplen)
	}
	return wr, nil
}

// WriteFrame writes f, or keeps a copy for a later Flush. A frame of another
// link type than a pcap file's is an error, and left out; the error of a write
// is final.
func (w *Writer) WriteFrame(f *decode.Frame) error {
	if w.err != nil {
		return w.err
	}
	data := f.Data[:min(len(f.Data), w.snaplen)]
	wire := uint32(max(f.Wire, len(f.Data)))
	if w.format == FormatPcap && w.begun && f.Link != w.link {
		return fmt.Errorf("write %s: a pcap file has one link type: %v, not %v (pcapng has many)", w.name, w.link, f.Link)
	}
	// A record and its interface's description must fit.
	if len(w.buf)+len(data)+128 > cap(w.buf) {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	w.begin(f.Link)
	if w.format == FormatPcap {
		w.appendPcap(f.Time, data, wire)
	} else {
		w.appendPcapng(f, data, wire)
	}
	return nil
}

// begin appends the file's header, of link type link in pcap, once.
func (w *Writer) begin(link decode.LinkType) {
	if w.begun {
		return
	}
	w.begun = true
	le := binary.LittleEndian
	if w.format == FormatPcap {
		w.link = link
		b := le.AppendUint32(w.buf, pcapNano)
		b = le.AppendUint16(b, 2) // version 2.4
		b = le.AppendUint16(b, 4)
		b = le.AppendUint64(b, 0) // reserved
		b = le.AppendUint32(b, uint32(w.snaplen))
		w.buf = le.AppendUint32(b, uint32(link))
		return
	}
	b := le.AppendUint32(w.buf, blockSection)
	b = le.AppendUint32(b, 28)
	b = le.AppendUint32(b, sectionMagic)
	b = le.AppendUint16(b, 1) // version 1.0
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, ^uint64(0)) // the section's length is not known
	w.buf = le.AppendUint32(b, 28)
	w.ifaces = make(map[ifaceKey]uint32)
}

func (w *Writer) appendPcap(t decode.Timestamp, data []byte, wire uint32) {
	const last = (1<<32)*1e9 - 1
	t = min(max(t, 0), last)
	le := binary.LittleEndian
	b := le.AppendUint32(w.buf, uint32(t/1e9))
	b = le.AppendUint32(b, uint32(t%1e9))
	b = le.AppendUint32(b, uint32(len(data)))
	b = le.AppendUint32(b, wire)
	w.buf = append(b, data...)
}

func (w *Writer) appendPcapng(f *decode.Frame, data []byte, wire uint32) {
	id := w.iface(ifaceKey{f.Link, f.Iface})
	flags := flagsOf(f)
	size := 32 + pad4(len(data))
	if flags != 0 {
		size += 12
	}
	t := uint64(max(f.Time, 0))
	le := binary.LittleEndian
	b := le.AppendUint32(w.buf, blockEnhanced)
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, id)
	b = le.AppendUint32(b, uint32(t>>32))
	b = le.AppendUint32(b, uint32(t))
	b = le.AppendUint32(b, uint32(len(data)))
	b = le.AppendUint32(b, wire)
	b = append(b, data...)
	for range pad4(len(data)) - len(data) {
		b = append(b, 0)
	}
	if flags != 0 {
		b = le.AppendUint16(b, optFlags)
		b = le.AppendUint16(b, 4)
		b = le.AppendUint32(b, flags)
		b = le.AppendUint32(b, 0) // end of options
	}
	w.buf = le.AppendUint32(b, uint32(size))
}

// flagsOf is setFlags' inverse, but for ChecksumsComplete, which says less than
// that the checksum is valid.
func flagsOf(f *decode.Frame) (flags uint32) {
	switch f.Dir {
	case decode.DirInbound:
		flags = flagsInbound
	case decode.DirOutbound:
		flags = flagsOutbound
	case decode.DirOther:
		flags = flagsInbound | flagsPromiscuous
	}
	if f.Checksums == decode.ChecksumsPartial {
		flags |= flagsSumNotReady
	}
	return flags
}

// iface returns the number of an interface, which it describes when it is new.
func (w *Writer) iface(key ifaceKey) uint32 {
	if key == w.last && len(w.ifaces) > 0 {
		return w.lastID
	}
	id, ok := w.ifaces[key]
	if !ok {
		id = uint32(len(w.ifaces))
		w.ifaces[key] = id
		le := binary.LittleEndian
		b := le.AppendUint32(w.buf, blockInterface)
		b = le.AppendUint32(b, 32)
		b = le.AppendUint16(b, uint16(key.link))
		b = le.AppendUint16(b, 0) // reserved
		b = le.AppendUint32(b, uint32(w.snaplen))
		b = le.AppendUint16(b, optTsresol)
		b = le.AppendUint16(b, 1)
		b = append(b, 9, 0, 0, 0) // nanoseconds, padding
		b = le.AppendUint32(b, 0) // end of options
		w.buf = le.AppendUint32(b, 32)
	}
	w.last, w.lastID = key, id
	return id
}

// Flush writes what was collected.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		if w.file != nil {
			// The file may be a device or a pipe, which cannot be cut.
			_ = w.file.Truncate(w.done + int64(w.whole(n)))
		}
		var path *os.PathError
		if !errors.As(err, &path) { // which names the file
			err = fmt.Errorf("write %s: %w", w.name, err)
		}
		w.err = err
		return err
	}
	w.done += int64(n)
	w.buf = w.buf[:0]
	return nil
}

// whole returns the length of the whole records in the first n bytes of buf.
func (w *Writer) whole(n int) int {
	at := 0
	for {
		rest, size := w.buf[at:], 0
		switch {
		case w.format == FormatPcapng && len(rest) >= 8:
			size = int(binary.LittleEndian.Uint32(rest[4:]))
		case w.format == FormatPcap && w.done == 0 && at == 0 && len(rest) >= pcapHeaderLen:
			size = pcapHeaderLen
		case w.format == FormatPcap && len(rest) >= pcapRecordLen:
			size = pcapRecordLen + int(binary.LittleEndian.Uint32(rest[8:]))
		}
		if size == 0 || at+size > n {
			return at
		}
		at += size
	}
}

// Close flushes and closes the file that CreateFile made. Every file is valid
// then, also one that got no frame. It is idempotent; WriteFrame and Flush
// return os.ErrClosed afterwards.
func (w *Writer) Close() error {
	if w.err == os.ErrClosed {
		return nil
	}
	if w.err == nil && !w.begun {
		w.begin(w.link)
		if w.format == FormatPcapng {
			w.iface(ifaceKey{link: w.link}) // tcpdump wants at least one
		}
	}
	err := w.Flush()
	w.err = os.ErrClosed
	if w.file != nil {
		if cerr := w.file.Close(); err == nil {
			err = cerr
		}
	}
	return err
}
