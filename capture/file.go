package capture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"finack/decode"
	"finack/internal/pcapfilter"
)

// ErrFormat is found by errors.Is in every error that says that a file is no
// capture file, or a damaged or truncated one.
var ErrFormat = errors.New("damaged or not a capture file")

// errWouldRead is find's answer when the buffer holds no whole record and no
// more input may be read.
var errWouldRead = errors.New("more input is needed")

const (
	// readSize is what one read asks for: enough to make the system call's
	// cost vanish, little enough to stay in a core's cache.
	readSize = 256 << 10
	// maxSnaplen is the largest snapshot length that tcpdump and Wireshark
	// use, and so the longest frame to be expected.
	maxSnaplen = 262144
	// maxRecord bounds what a record may claim: Wireshark's bound on a pcapng
	// block, and far above the longest frame of any network device.
	maxRecord = 16 << 20
	// maxWindow bounds a zstd window, which is the memory that decompression
	// takes: the default of zstd(1), see its --memory.
	maxWindow = 128 << 20
)

// FileConfig tells how to read a capture file. nil and the zero value: every
// frame, and "-" is os.Stdin.
type FileConfig struct {
	Filter string    // a pcap-filter(7) expression; empty: every frame
	Stdin  io.Reader // what the name "-" reads; nil: os.Stdin
}

// File is a Source that reads a capture file: pcap, with microseconds or
// nanoseconds and in either byte order, or pcapng; plain or compressed with
// gzip or zstd, which its first bytes tell, not its name.
//
// What lies before a truncation or a damage is delivered; then ReadFrame
// returns the same error for ever. It is ErrFormat, tells how many frames came
// before, and is io.ErrUnexpectedEOF for a truncation.
//
// A frame with an impossible timestamp is delivered and counted in
// Stats.BadStamps. A fraction of more than a second is carried into the
// seconds; a stamp that a Timestamp cannot hold becomes that of the frame
// before, and so does the missing one of a pcapng Simple Packet Block, which is
// not counted.
type File struct {
	name    string
	closed  atomic.Bool
	closeIn func() error

	in     input     // the file's bytes
	src    io.Reader // &in, or what decompresses it
	packed string    // how it is compressed, or ""
	srcErr error     // src's last word
	buf    []byte    // buf[r:w] is read and not yet used
	r, w   int
	base   int64 // the offset of buf[0], after decompression

	next     func(f *File, read bool) error // nextPcap or nextPcapng; nil: not begun
	pcap     pcapState
	ng       pcapngState
	filter   *pcapfilter.Filter
	programs map[decode.LinkType]*pcapfilter.Program

	rec   record // the next frame, once ready is set
	ready bool
	err   error // ReadFrame's last word
	stats Stats
}

// record is a frame that lies in the buffer.
type record struct {
	time     decode.Timestamp
	badStamp bool
	link     decode.LinkType
	dir      decode.Direction
	sums     decode.Checksums
	iface    uint32
	wire     int
	data     []byte
}

// OpenFile opens the capture file of that name; "-" is standard input. A
// regular file's header is read at once; a pipe's or terminal's by the first
// ReadFrame, so that OpenFile never waits for input. It returns the system's
// *fs.PathError as it is, and ErrFormat for what is not a capture file.
func OpenFile(name string, cfg *FileConfig) (*File, error) {
	if name == "-" {
		if cfg != nil && cfg.Stdin != nil {
			return NewReader(cfg.Stdin, "standard input", cfg)
		}
		return NewReader(os.Stdin, "standard input", cfg)
	}
	f, err := newFile(name, cfg)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	f.in.r, f.closeIn = file, file.Close
	st, err := file.Stat()
	if err == nil && (st.Mode().IsRegular() || st.IsDir()) {
		err = f.start()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

// NewReader returns a File that reads r, which its errors call name. It does
// not read yet: the first ReadFrame does, and returns an error of the header.
// Close does not close r. If r is an *os.File, Close ends a ReadFrame that
// waits for input; with another reader that waits, ReadFrame returns when r does.
func NewReader(r io.Reader, name string, cfg *FileConfig) (*File, error) {
	f, err := newFile(name, cfg)
	if err != nil {
		return nil, err
	}
	f.in.r = r
	if file, ok := r.(*os.File); ok {
		if f.in.wait, f.closeIn, err = newWaiter(file); err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
	}
	return f, nil
}

func newFile(name string, cfg *FileConfig) (*File, error) {
	f := &File{name: name}
	f.in.closed = &f.closed
	f.src = &f.in
	if cfg != nil && cfg.Filter != "" {
		var err error
		if f.filter, err = pcapfilter.Parse(cfg.Filter); err != nil {
			return nil, fmt.Errorf("parse filter: %w", err)
		}
		f.programs = make(map[decode.LinkType]*pcapfilter.Program)
	}
	return f, nil
}

// ReadFrame implements Source. Frame.Iface is the interface's number in its
// pcapng section, 0 in a pcap file. Frame.Dir and Frame.Checksums are what
// pcapng's epb_flags say.
func (f *File) ReadFrame(fr *decode.Frame) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	if !f.ready {
		if err := f.find(true); err != nil {
			return err
		}
	}
	f.ready = false
	rec := &f.rec
	f.stats.Frames++
	if rec.badStamp {
		f.stats.BadStamps++
	}
	fr.Time, fr.Link, fr.Dir, fr.Checksums = rec.time, rec.link, rec.dir, rec.sums
	fr.Iface, fr.Wire = rec.iface, rec.wire
	fr.Data = append(fr.Data[:0], rec.data...)
	return nil
}

// Buffered reports whether the next ReadFrame returns, a frame or its final
// error, without reading input and thus without waiting for it. Who prints
// what a pipe brings should flush when it is false. It belongs to the
// goroutine that calls ReadFrame.
func (f *File) Buffered() bool {
	return f.ready || f.closed.Load() || f.find(false) != errWouldRead
}

// SetReadDeadline implements Source. A file has no deadlines: it returns nil
// and changes nothing.
func (f *File) SetReadDeadline(time.Time) error { return nil }

// Stats implements Source. Frames that the filter left out count as Received.
func (f *File) Stats() (Stats, error) { return f.stats, nil }

// Close implements Source: ReadFrame returns net.ErrClosed from now on.
func (f *File) Close() error {
	if f.closed.Swap(true) || f.closeIn == nil {
		return nil
	}
	return f.closeIn()
}

// find makes the next frame that passes the filter ready. Without read it
// returns errWouldRead rather than read; every other error is final.
func (f *File) find(read bool) error {
	if f.err != nil {
		return f.err
	}
	err := f.findNext(read)
	switch {
	case err == nil:
		f.ready = true
	case err == errWouldRead:
	case f.closed.Load():
		return net.ErrClosed // whatever r says after it was closed
	default:
		f.err = err
	}
	return err
}

func (f *File) findNext(read bool) error {
	if f.next == nil {
		if !read {
			return errWouldRead
		}
		if err := f.start(); err != nil {
			return err
		}
	}
	for {
		if err := f.next(f, read); err != nil {
			return err
		}
		f.stats.Received++
		if f.filter == nil {
			return nil
		}
		if ok, err := f.accepts(&f.rec); ok || err != nil {
			return err
		}
	}
}

// accepts runs the filter.
func (f *File) accepts(rec *record) (bool, error) {
	p := f.programs[rec.link]
	if p == nil {
		var err error
		if p, err = f.filter.ForLink(uint16(rec.link)); err != nil {
			return false, fmt.Errorf("read %s: link type %v: %w", f.name, rec.link, err)
		}
		f.programs[rec.link] = p
	}
	return p.Match(rec.data, rec.wire), nil
}

// start tells the format by the file's first bytes.
func (f *File) start() error {
	err := f.need(4, true)
	magic := f.buf[f.r:f.w]
	switch {
	case err != nil && err != io.EOF:
		return f.ended(err, "")
	case len(magic) == 0:
		return formatErrorf(nil, "open %s: empty file", f.name)
	}
	if p := packing(magic); p != "" && f.packed == "" {
		if err := f.unpack(p); err != nil {
			return err
		}
		return f.start()
	}
	if len(magic) >= 4 {
		if p, ok := pcapMagic(magic); ok {
			f.pcap, f.next = p, (*File).nextPcap
			return f.pcapHeader()
		}
		if byteOrder(false).u32(magic) == blockSection {
			f.next = (*File).nextPcapng
			return nil
		}
	}
	return formatErrorf(nil, "open %s: not a pcap or pcapng file (starts with %s)", f.name, show(magic[:min(len(magic), 8)]))
}

// packing names the compression that begins with magic.
func packing(magic []byte) string {
	for _, p := range []struct{ name, magic string }{
		{"gzip", "\x1f\x8b"},
		{"zstd", "\x28\xb5\x2f\xfd"},
		{"xz", "\xfd7zX"},
		{"lz4", "\x04\x22\x4d\x18"},
		{"bzip2", "BZh"},
	} {
		if bytes.HasPrefix(magic, []byte(p.magic)) {
			return p.name
		}
	}
	return ""
}

// unpack puts a decompressor between the file and the buffer.
func (f *File) unpack(packing string) error {
	begun := bytes.NewReader(bytes.Clone(f.buf[f.r:f.w]))
	f.r, f.w, f.srcErr = 0, 0, nil
	// The decompressors read in small pieces.
	in := bufio.NewReaderSize(io.MultiReader(begun, &f.in), 64<<10)
	var err error
	switch f.packed = packing; packing {
	case "gzip":
		f.src, err = gzip.NewReader(in)
	case "zstd":
		// A single decoder starts no goroutine: nothing is left to be closed,
		// and frames come as soon as their bytes do.
		f.src, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		return formatErrorf(nil, "open %s: %s-compressed: decompress it first", f.name, packing)
	}
	if err != nil {
		return f.ended(err, "")
	}
	return nil
}

// show prints the first bytes of a file that is no capture.
func show(b []byte) string {
	for _, c := range b {
		if (c < ' ' && c != '\t' && c != '\n' && c != '\r') || c > '~' {
			return fmt.Sprintf("% x", b)
		}
	}
	return fmt.Sprintf("%q", b)
}

// need sees to it that n bytes lie in the buffer. Its error is errWouldRead,
// or what ended the input before them: io.EOF, or a reader's own.
func (f *File) need(n int, read bool) error {
	if f.w-f.r >= n {
		return nil
	}
	return f.fill(n, read)
}

func (f *File) fill(n int, read bool) error {
	for empty := 0; f.w-f.r < n; {
		switch {
		case f.srcErr != nil:
			return f.srcErr
		case !read:
			return errWouldRead
		}
		if f.r > 0 {
			copy(f.buf, f.buf[f.r:f.w])
			f.base += int64(f.r)
			f.r, f.w = 0, f.w-f.r
		}
		if f.w == len(f.buf) {
			// A record may claim what it likes: only bytes that came make the
			// buffer grow.
			f.buf = append(f.buf, make([]byte, max(readSize, len(f.buf)))...)
		}
		var m int
		m, f.srcErr = f.src.Read(f.buf[f.w:])
		f.w += m
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 && f.srcErr == nil {
			f.srcErr = io.ErrNoProgress
		}
	}
	return nil
}

// ended makes ReadFrame's error of need's; where says what the end of the file
// would cut.
func (f *File) ended(err error, where string) error {
	var path *os.PathError
	switch {
	case err == errWouldRead:
		return err
	case f.in.failed() && errors.As(f.in.err, &path):
		return f.in.err // it names the file
	case f.in.failed():
		return fmt.Errorf("read %s: %w", f.name, f.in.err)
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		if where == "" {
			where = "in its " + strings.TrimSpace(f.packed+" data")
		}
		return formatErrorf(io.ErrUnexpectedEOF, "read %s: cut off after %d frames (%s)", f.name, f.stats.Received, where)
	case f.packed != "":
		return formatErrorf(err, "read %s: damaged %s data after %d frames: %v", f.name, f.packed, f.stats.Received, err)
	default:
		return fmt.Errorf("read %s: %w", f.name, err)
	}
}

// recordEnded is ended for a record of which need did not get all; between two
// records a file may end.
func (f *File) recordEnded(err error) error {
	switch {
	case f.r < f.w:
		return f.ended(err, "in the middle of a record")
	case err == io.EOF:
		return io.EOF
	default:
		return f.ended(err, "")
	}
}

// damaged says that what begins at the buffer's first byte cannot be a record.
func (f *File) damaged(format string, args ...any) error {
	where := ""
	if f.packed != "" {
		where = " of the decompressed data"
	}
	return formatErrorf(nil, "read %s: damaged at byte %d%s, after %d frames: %s",
		f.name, f.base+int64(f.r), where, f.stats.Received, fmt.Sprintf(format, args...))
}

// formatErrorf returns an ErrFormat that wraps err, which may be nil.
func formatErrorf(err error, format string, args ...any) error {
	return &formatError{fmt.Sprintf(format, args...), err}
}

type formatError struct {
	text string
	err  error
}

func (e *formatError) Error() string        { return e.text }
func (e *formatError) Is(target error) bool { return target == ErrFormat }
func (e *formatError) Unwrap() error        { return e.err }

// input is the file as the system delivers it. It keeps the error, because a
// decompressor above it may put that in its own words.
type input struct {
	r      io.Reader
	wait   func() // returns when r has something to say or Close was called; may be nil
	closed *atomic.Bool
	err    error
}

func (in *input) Read(p []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	if in.wait != nil {
		in.wait()
	}
	if in.closed.Load() {
		return 0, net.ErrClosed
	}
	n, err := in.r.Read(p)
	in.err = err
	return n, err
}

// failed reports whether the system, not the file's content, ended the reading.
func (in *input) failed() bool {
	return in.err != nil && in.err != io.EOF && in.err != io.ErrUnexpectedEOF
}

// byteOrder reads integers, big-endian if true. Unlike binary.ByteOrder it is
// no interface, so that its methods are inlined.
type byteOrder bool

func (big byteOrder) u16(b []byte) uint16 {
	v := uint16(b[0]) | uint16(b[1])<<8
	if big {
		v = bits.ReverseBytes16(v)
	}
	return v
}

func (big byteOrder) u32(b []byte) uint32 {
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	if big {
		v = bits.ReverseBytes32(v)
	}
	return v
}

func (big byteOrder) u64(b []byte) uint64 {
	lo, hi := uint64(big.u32(b)), uint64(big.u32(b[4:]))
	if big {
		lo, hi = hi, lo
	}
	return hi<<32 | lo
}
