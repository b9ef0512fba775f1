package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
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
	// probeSize is the same where only the first frame is wanted.
	probeSize = 4 << 10
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
// What is compressed is decompressed by a goroutine of its own, which ends with
// the file or with Close. It is at most a mebibyte ahead, and hands on at once
// what a pipe has brought.
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
	stop    chan struct{} // closed with the file
	closeIn func() error
	probe   bool // only the first frame is wanted

	in     input     // the file's bytes
	src    io.Reader // &in, or what decompresses it
	packed string    // how it is compressed, or ""
	srcErr error     // src's last word
	buf    []byte    // buf[r:w] is read and not yet used
	r, w   int
	base   int64 // the offset of buf[0], after decompression

	// next makes fr the next frame, whose Data lies in buf. Without read it
	// returns errWouldRead rather than read; every other error is final. It is
	// begin, nextPcap, nextPcapng or over.
	next     func(f *File, fr *decode.Frame, read bool) error
	badStamp bool // the frame that next has made has an impossible timestamp
	pcap     pcapState
	ng       pcapngState
	filter   *pcapfilter.Filter
	programs map[decode.LinkType]*pcapfilter.Program

	peeked decode.Frame // the next frame, once ready is set
	ready  bool
	err    error // ReadFrame's last word
	stats  Stats
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
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the file of f's name.
func (f *File) open() error {
	file, err := os.Open(f.name)
	if err != nil {
		return err
	}
	f.in.r, f.closeIn = file, file.Close
	st, err := file.Stat()
	if err == nil && (st.Mode().IsRegular() || st.IsDir()) {
		f.in.size = st.Size()
		err = f.start()
	}
	if err != nil {
		f.Close()
	}
	return err
}

// NewReader returns a File that reads r, which its errors call name. It does
// not read yet: the first ReadFrame does, and returns an error of the header.
// Close does not close r. If r is an *os.File, Close ends a ReadFrame that
// waits for input; with another reader that waits, ReadFrame returns when r
// does, or, where it brings compressed data, at once, but r is read until it returns.
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
		f.in.size = left(file)
	}
	return f, nil
}

// left returns how many bytes of file are yet to be read, 0 if that is not known.
func left(file *os.File) int64 {
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return 0
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return max(st.Size()-at, 0)
}

func newFile(name string, cfg *FileConfig) (*File, error) {
	f := &File{name: name, stop: make(chan struct{}), next: (*File).begin}
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
// pcapng section, 0 in a pcap file; another section or file has its own 0.
// Frame.Dir and Frame.Checksums are what pcapng's epb_flags say.
func (f *File) ReadFrame(fr *decode.Frame) error {
	own := fr.Data
	return owned(fr, own, f.NextFrame(fr))
}

// owned makes of what NextFrame has left in fr what ReadFrame leaves: a frame
// whose bytes are its own, which were own before. It returns err.
func owned(fr *decode.Frame, own []byte, err error) error {
	if err != nil {
		fr.Data = own
		return err
	}
	fr.Data = append(own[:0], fr.Data...)
	return nil
}

// NextFrame is ReadFrame without the copy: fr.Data lies in the file's buffer,
// is valid until the next call of NextFrame or ReadFrame, and must not be
// changed. fr must not be used for ReadFrame afterwards.
func (f *File) NextFrame(fr *decode.Frame) error {
	switch {
	case f.closed.Load():
		return net.ErrClosed
	case f.ready:
		f.ready = false
		*fr = f.peeked
	default:
		if err := f.find(fr, true); err != nil {
			return err
		}
	}
	f.stats.Frames++
	if f.badStamp {
		f.stats.BadStamps++
	}
	return nil
}

// unread takes back the frame that NextFrame has just returned.
func (f *File) unread(fr *decode.Frame) {
	f.peeked, f.ready = *fr, true
	f.stats.Frames--
	if f.badStamp {
		f.stats.BadStamps--
	}
}

// peek makes the next frame f.peeked, with find's errors.
func (f *File) peek(read bool) error {
	if f.ready {
		return nil
	}
	err := f.find(&f.peeked, read)
	f.ready = err == nil
	return err
}

// Buffered reports whether the next ReadFrame returns, a frame or its final
// error, without reading input and thus without waiting for it. Who prints
// what a pipe brings should flush when it is false. It belongs to the
// goroutine that calls ReadFrame.
func (f *File) Buffered() bool {
	return f.ready || f.closed.Load() || f.wholePcap() || f.peek(false) != errWouldRead
}

// Waits reports whether reading may have to wait for input, as from a pipe or a
// terminal. Where it does not, nobody needs to ask Buffered.
func (f *File) Waits() bool { return f.in.size == 0 }

// Progress returns how many bytes have been read from the file, as it lies on
// disk, and how many it had when it was opened; total is 0 where that is not
// known, as with a pipe. It may be called from any goroutine.
func (f *File) Progress() (done, total int64) {
	done, total = f.in.read.Load(), f.in.size
	if total > 0 {
		done = min(done, total) // it may have grown
	}
	return done, total
}

// SetReadDeadline implements Source. A file has no deadlines: it returns nil
// and changes nothing.
func (f *File) SetReadDeadline(time.Time) error { return nil }

// Stats implements Source. Frames that the filter left out count as Received.
func (f *File) Stats() (Stats, error) { return f.stats, nil }

// Close implements Source: ReadFrame returns net.ErrClosed from now on.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	close(f.stop)
	if f.closeIn == nil {
		return nil
	}
	return f.closeIn()
}

// find makes fr the next frame that passes the filter, with next's errors.
func (f *File) find(fr *decode.Frame, read bool) error {
	for {
		if err := f.next(f, fr, read); err != nil {
			return f.failed(err)
		}
		f.stats.Received++
		if f.filter == nil {
			return nil
		}
		if ok, err := f.accepts(fr); err != nil {
			return f.failed(err)
		} else if ok {
			return nil
		}
	}
}

// failed returns find's error for err, and makes it the last one if it is final.
func (f *File) failed(err error) error {
	switch {
	case err == errWouldRead:
	case f.closed.Load():
		return net.ErrClosed // whatever r says after it was closed
	default:
		f.err, f.next = err, (*File).over
	}
	return err
}

// over is next after an error.
func (f *File) over(*decode.Frame, bool) error { return f.err }

// begin is next as long as the format is not known.
func (f *File) begin(fr *decode.Frame, read bool) error {
	if !read {
		return errWouldRead
	}
	if err := f.start(); err != nil {
		return err
	}
	return f.next(f, fr, read)
}

// accepts runs the filter.
func (f *File) accepts(fr *decode.Frame) (bool, error) {
	p := f.programs[fr.Link]
	if p == nil {
		var err error
		if p, err = f.filter.ForLink(uint16(fr.Link)); err != nil {
			return false, fmt.Errorf("read %s: link type %v: %w", f.name, fr.Link, err)
		}
		f.programs[fr.Link] = p
	}
	return p.Match(fr.Data, fr.Wire), nil
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
	if !f.probe {
		f.src = readAhead(f.src, f.in.size == 0, f.stop)
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
			size := readSize
			if f.probe {
				size = probeSize
			}
			f.buf = append(f.buf, make([]byte, max(size, len(f.buf)))...)
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
	case err == errWouldRead || err == net.ErrClosed: // who reads ahead may still be at it
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
	size   int64 // of the file, 0 if that is not known
	read   atomic.Int64
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
	in.read.Add(int64(n))
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
