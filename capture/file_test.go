package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"

	"finack/decode"
	"finack/internal/pcapfilter"
)

var _ Source = (*File)(nil)

// fileOrder is what encoding/binary's two byte orders are.
type fileOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var fileOrders = []fileOrder{binary.LittleEndian, binary.BigEndian}

func filePcapHeader(o fileOrder, magic, snaplen, network uint32) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, 4)
	b = o.AppendUint64(b, 0)
	b = o.AppendUint32(b, snaplen)
	return o.AppendUint32(b, network)
}

func filePcapRecord(o fileOrder, sec, frac uint32, data string, wire uint32) []byte {
	b := o.AppendUint32(nil, sec)
	b = o.AppendUint32(b, frac)
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, wire)
	return append(b, data...)
}

// filePcap is a pcap file of three records; its parts end where a file may end.
func filePcap() (parts [][]byte) {
	o := binary.LittleEndian
	return [][]byte{
		filePcapHeader(o, pcapMicro, 65535, 1),
		filePcapRecord(o, 1, 2, "first", 5),
		filePcapRecord(o, 1, 3, "the second", 1500),
		filePcapRecord(o, 2, 0, "", 0),
	}
}

func fileGzip(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fileZstd(t testing.TB, b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// fileReadAll reads until an error, and makes sure that it is final.
func fileReadAll(t testing.TB, f *File) ([]decode.Frame, error) {
	t.Helper()
	var frames []decode.Frame
	for {
		var fr decode.Frame
		if err := f.ReadFrame(&fr); err != nil {
			if again := f.ReadFrame(&fr); again != err {
				t.Errorf("ReadFrame returned %v, then %v", err, again)
			}
			if !f.Buffered() {
				t.Error("Buffered is false although the final error is known")
			}
			return frames, err
		}
		frames = append(frames, fr)
	}
}

func fileRead(t testing.TB, r io.Reader) ([]decode.Frame, error) {
	t.Helper()
	f, err := NewReader(r, "x.pcap", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return fileReadAll(t, f)
}

func TestPcapInBothByteOrdersAndAllUnits(t *testing.T) {
	for _, o := range fileOrders {
		for _, test := range []struct {
			magic uint32
			unit  int64
			extra string // of a record's header
		}{{pcapMicro, 1000, ""}, {pcapNano, 1, ""}, {pcapModified, 1000, "if  prPp"}} {
			b := filePcapHeader(o, test.magic, 65535, 276)
			b = append(b, filePcapRecord(o, 3_000_000_000, 999_999, "", 0)...)
			b = append(b, test.extra...)
			b = append(b, filePcapRecord(o, 7, 8, "", 1514)...)
			o.PutUint32(b[len(b)-8:], 5)
			b = append(b, test.extra+"frame"...)
			got, err := fileRead(t, bytes.NewReader(b))
			if err != io.EOF {
				t.Errorf("%v %x: %v", o, test.magic, err)
			}
			want := []decode.Frame{
				{Time: decode.Timestamp(3e18 + 999_999*test.unit), Link: decode.LinkSLL2},
				{Time: decode.Timestamp(7e9 + 8*test.unit), Link: decode.LinkSLL2, Wire: 1514, Data: []byte("frame")},
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%v %x:\n%s", o, test.magic, d)
			}
		}
	}
}

func TestPcapLinkTypeIsTheLowHalfOfItsWord(t *testing.T) {
	for word, want := range map[uint32]decode.LinkType{
		1: 1, 0x30000001: 1, 0x14000001: 1, 0xffff0114: 276, 0xffff: 0xffff,
	} {
		b := append(filePcapHeader(binary.LittleEndian, pcapMicro, 0, word), filePcapRecord(binary.LittleEndian, 0, 0, "", 0)...)
		got, err := fileRead(t, bytes.NewReader(b))
		if err != io.EOF || len(got) != 1 || got[0].Link != want {
			t.Errorf("%#x: %v, %v; want %v", word, got, err, want)
		}
	}
}

func TestPcapRecordsThatDoNotKeepToTheHeader(t *testing.T) {
	o := binary.LittleEndian
	for _, test := range []struct {
		name    string
		snaplen uint32
		length  int
		ok      bool
	}{
		{"over the snaplen", 96, 1514, true},
		{"no snaplen", 0, 262144, true},
		{"longest usual", 65535, 262144, true},
		{"longer", 65535, 262145, false},
		{"large snaplen", 1 << 20, 1 << 20, true},
		{"over a large snaplen", 1 << 20, 1<<20 + 1, false},
		{"longest possible", 1<<32 - 1, 16 << 20, true},
		{"impossible", 1<<32 - 1, 16<<20 + 1, false},
	} {
		b := filePcapHeader(o, pcapMicro, test.snaplen, 1)
		b = append(b, filePcapRecord(o, 0, 0, "ok", 2)...)
		b = append(b, filePcapRecord(o, 0, 0, strings.Repeat("x", test.length), 10)...)
		got, err := fileRead(t, bytes.NewReader(b))
		if test.ok {
			if err != io.EOF || len(got) != 2 || len(got[1].Data) != test.length || got[1].Wire != test.length {
				t.Errorf("%s: %d frames, %v", test.name, len(got), err)
			}
			continue
		}
		want := fmt.Sprintf("read x.pcap: damaged at byte 42, after 1 frames: a record of %d bytes", test.length)
		if len(got) != 1 || !errors.Is(err, ErrFormat) || err.Error() != want {
			t.Errorf("%s: %d frames, %v", test.name, len(got), err)
		}
	}
}

func TestClaimsDoNotAllocate(t *testing.T) {
	o := binary.LittleEndian
	pcap := filePcapHeader(o, pcapMicro, 1<<32-1, 1)
	pcap = append(pcap, filePcapRecord(o, 0, 0, "", 0)...)
	o.PutUint32(pcap[24+8:], 16<<20)
	ng := append(ngSection(o), ngBlock(o, 77, nil)...)
	o.PutUint32(ng[28+4:], 16<<20)
	for name, b := range map[string][]byte{"pcap": pcap, "pcapng": ng} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := fileRead(t, bytes.NewReader(b))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s of %d bytes allocates %d", name, len(b), n)
		}
	}
}

// A few bytes may claim a window of any size (RFC 8878 section 3.1.1.1.2).
func TestZstdWindowIsBounded(t *testing.T) {
	for exponent, ok := range map[byte]bool{17: true, 18: false, 21: false, 31: false} { // 2^(10+exponent)
		b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3}
		header := filePcapHeader(binary.LittleEndian, pcapMicro, 0, 1)
		b = append(append(b, byte(len(header)<<3)|1, 0, 0), header...) // one raw block, the last
		got, err := fileRead(t, bytes.NewReader(b))
		if len(got) != 0 || ok && err != io.EOF || !ok && !errors.Is(err, ErrFormat) {
			t.Errorf("2^%d: %v", 10+exponent, err)
		}
	}
}

func TestImpossibleStampIsCountedAndTheFrameKept(t *testing.T) {
	o := binary.LittleEndian
	for _, test := range []struct {
		magic, frac uint32
		time        int64
		bad         uint64
	}{
		{pcapMicro, 999_999, 1e9 + 999_999_000, 0},
		{pcapMicro, 1_000_000, 2e9, 1},
		{pcapMicro, 1<<32 - 1, 1e9 + (1<<32-1)*1000, 1},
		{pcapNano, 999_999_999, 1e9 + 999_999_999, 0},
		{pcapNano, 1_000_000_000, 2e9, 1},
	} {
		b := append(filePcapHeader(o, test.magic, 0, 1), filePcapRecord(o, 1, test.frac, "x", 1)...)
		f, _ := NewReader(bytes.NewReader(b), "x.pcap", nil)
		var fr decode.Frame
		if err := f.ReadFrame(&fr); err != nil || fr.Time != decode.Timestamp(test.time) {
			t.Errorf("%+v: %v, %v", test, fr.Time, err)
		}
		if st, _ := f.Stats(); st != (Stats{Frames: 1, Received: 1, BadStamps: test.bad}) {
			t.Errorf("%+v: %+v", test, st)
		}
	}
}

// Wherever a file is cut, what came before is delivered, and only a cut between
// two records is the end of a file.
func TestTruncationTellsAfterHowManyFrames(t *testing.T) {
	for name, parts := range map[string][][]byte{"pcap": filePcap(), "pcapng": ngFile()} {
		whole := bytes.Join(parts, nil)
		all, err := fileRead(t, bytes.NewReader(whole))
		if err != io.EOF || len(all) != 3 {
			t.Fatalf("%s: %d frames, %v", name, len(all), err)
		}
		for cut := 1; cut < len(whole); cut++ {
			ends, frames, at := false, 0, 0
			for i, p := range parts {
				if at += len(p); at <= cut {
					frames = max(0, i-(len(parts)-1-len(all)))
				}
				ends = ends || at == cut
			}
			got, err := fileRead(t, bytes.NewReader(whole[:cut]))
			if d := cmp.Diff(all[:frames:frames], got, cmp.Transformer("len", func(f []decode.Frame) int { return len(f) })); d != "" {
				t.Errorf("%s cut at %d:\n%s", name, cut, d)
			}
			switch {
			case ends && err == io.EOF:
			case cut < 4 && errors.Is(err, ErrFormat) && strings.Contains(err.Error(), "not a pcap or pcapng file"):
			case !ends && errors.Is(err, ErrFormat) && errors.Is(err, io.ErrUnexpectedEOF) &&
				strings.Contains(err.Error(), fmt.Sprintf("x.pcap: cut off after %d frames (in ", frames)):
			default:
				t.Errorf("%s cut at %d of %d: %v", name, cut, len(whole), err)
			}
		}
	}
}

func TestTruncatedCompressedFile(t *testing.T) {
	var file []byte
	file = append(file, filePcap()[0]...)
	for i := range 5000 {
		file = append(file, filePcapRecord(binary.LittleEndian, uint32(i), 0, fmt.Sprintf("%x", i*i*i*i), 100)...)
	}
	for name, packed := range map[string][]byte{"gzip": fileGzip(t, file), "zstd": fileZstd(t, file)} {
		all, err := fileRead(t, bytes.NewReader(packed))
		if err != io.EOF || len(all) != 5000 {
			t.Errorf("%s: %d frames, %v", name, len(all), err)
		}
		for cut := 4; cut < len(packed); cut += 997 {
			got, err := fileRead(t, bytes.NewReader(packed[:cut]))
			want := fmt.Sprintf("read x.pcap: cut off after %d frames (in ", len(got))
			if !errors.Is(err, ErrFormat) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s cut at %d of %d: %v", name, cut, len(packed), err)
			}
		}
		packed[len(packed)/2] ^= 0x55
		if _, err := fileRead(t, bytes.NewReader(packed)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s damaged: %v", name, err)
		}
	}
}

func TestWhatIsNoCaptureFile(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{"", "open x.pcap: empty file"},
		{"hi", `open x.pcap: not a pcap or pcapng file (starts with "hi")`},
		{"hello world", `open x.pcap: not a pcap or pcapng file (starts with "hello wo")`},
		{"\x7fELF\x02\x01\x01\x00\x00", "open x.pcap: not a pcap or pcapng file (starts with 7f 45 4c 46 02 01 01 00)"},
		{"\xfd7zXZ\x00....", "open x.pcap: xz-compressed: decompress it first"},
		{"BZh91AY&SY", "open x.pcap: bzip2-compressed: decompress it first"},
		{"\x04\x22\x4d\x18....", "open x.pcap: lz4-compressed: decompress it first"},
		{string(fileGzip(t, nil)), "open x.pcap: empty file"},
		{string(fileGzip(t, []byte("hello world"))), `open x.pcap: not a pcap or pcapng file (starts with "hello wo")`},
		{string(fileZstd(t, fileGzip(t, filePcap()[0]))), "open x.pcap: not a pcap or pcapng file (starts with 1f 8b 08 00 00 00 00 00)"},
		{"\xd4\xc3\xb2\xa1\x00\x01\x00\x02................", "open x.pcap: pcap version 256.512 is not known (2.4 is)"},
		{"\x1f\x8b", "read x.pcap: cut off after 0 frames (in its gzip data)"},
	} {
		got, err := fileRead(t, strings.NewReader(test.data))
		if len(got) != 0 || !errors.Is(err, ErrFormat) || err.Error() != test.want {
			t.Errorf("%q:\n got %v\nwant %s", test.data, err, test.want)
		}
		name := filepath.Join(t.TempDir(), "x.pcap")
		if err := os.WriteFile(name, []byte(test.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(name, nil); !errors.Is(err, ErrFormat) || err.Error() != strings.Replace(test.want, "x.pcap", name, 1) {
			t.Errorf("%q: OpenFile: %v", test.data, err)
		}
	}
}

func TestOpenFileReturnsTheSystemsErrors(t *testing.T) {
	dir := t.TempDir()
	var path *fs.PathError
	if _, err := OpenFile(filepath.Join(dir, "none.pcap"), nil); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &path) {
		t.Errorf("missing file: %v", err)
	}
	_, err := OpenFile(dir, nil)
	if !errors.Is(err, syscall.EISDIR) || !errors.As(err, &path) || errors.Is(err, ErrFormat) {
		t.Errorf("directory: %v", err)
	}
}

func TestDashIsStandardInput(t *testing.T) {
	f, err := OpenFile("-", &FileConfig{Stdin: bytes.NewReader(fileGzip(t, bytes.Join(filePcap(), nil)[:50]))})
	if err != nil {
		t.Fatal(err)
	}
	got, err := fileReadAll(t, f)
	if len(got) != 1 || err.Error() != "read standard input: cut off after 1 frames (in the middle of a record)" {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

// How a reader cuts the bytes makes no difference, nor do its own errors hide
// what came before them.
func TestReadersOfAllManners(t *testing.T) {
	own := errors.New("input/output error")
	for name, b := range map[string][]byte{
		"pcap": bytes.Join(filePcap(), nil), "pcapng": bytes.Join(ngFile(), nil),
		"gzip": fileGzip(t, bytes.Join(filePcap(), nil)), "zstd": fileZstd(t, bytes.Join(ngFile(), nil)),
	} {
		want, err := fileRead(t, bytes.NewReader(b))
		if err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
		for manner, r := range map[string]io.Reader{
			"bytes":  iotest.OneByteReader(bytes.NewReader(b)),
			"halves": iotest.HalfReader(bytes.NewReader(b)),
			"eof":    iotest.DataErrReader(bytes.NewReader(b)),
			"pipe":   filePipe(b),
		} {
			got, err := fileRead(t, r)
			if d := cmp.Diff(want, got); d != "" || err != io.EOF {
				t.Errorf("%s by %s: %v\n%s", name, manner, err, d)
			}
		}
		got, err := fileRead(t, io.MultiReader(bytes.NewReader(b[:len(b)-8]), iotest.ErrReader(own)))
		if !errors.Is(err, own) || errors.Is(err, ErrFormat) || err.Error() != "read x.pcap: input/output error" {
			t.Errorf("%s with an error: %v", name, err)
		}
		if plain := name == "pcap" || name == "pcapng"; plain && len(got) != 2 {
			t.Errorf("%s with an error: %d frames before it", name, len(got))
		}
	}
	if _, err := fileRead(t, fileNothing{}); !errors.Is(err, io.ErrNoProgress) || errors.Is(err, ErrFormat) {
		t.Errorf("reader that reads nothing: %v", err)
	}
}

type fileNothing struct{}

func (fileNothing) Read([]byte) (int, error) { return 0, nil }

func filePipe(b []byte) io.Reader {
	r, w := io.Pipe()
	go func() {
		w.Write(b)
		w.Close()
	}()
	return r
}

// A frame is delivered when its last byte has come, though the writer keeps the
// pipe open: tcpdump -U -w - | finack read -
func TestFramesComeAsSoonAsTheirBytes(t *testing.T) {
	type flusher interface {
		io.Writer
		Flush() error
	}
	for name, open := range map[string]func(w io.Writer) flusher{
		"plain": func(w io.Writer) flusher { return fileUnbuffered{w} },
		"gzip":  func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"zstd": func(w io.Writer) flusher {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	} {
		for format, parts := range map[string][][]byte{"pcap": filePcap(), "pcapng": ngFile()} {
			r, pw, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			w := open(pw)
			send := func(parts ...[]byte) {
				for _, p := range parts {
					if _, err := w.Write(p); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			f, err := NewReader(r, "pipe", nil)
			if err != nil {
				t.Fatal(err)
			}
			var fr decode.Frame
			n := len(parts) - 3
			if f.Buffered() {
				t.Errorf("%s %s: buffered before a byte came", name, format)
			}
			send(parts[:n+1]...)
			if err := f.ReadFrame(&fr); err != nil || string(fr.Data) != "first" {
				t.Errorf("%s %s: %q, %v", name, format, fr.Data, err)
			}
			if f.Buffered() {
				t.Errorf("%s %s: buffered, but nothing came", name, format)
			}
			send(parts[n+1:]...)
			if err := f.ReadFrame(&fr); err != nil || string(fr.Data) != "the second" {
				t.Errorf("%s %s: %q, %v", name, format, fr.Data, err)
			}
			if err := f.ReadFrame(&fr); err != nil {
				t.Errorf("%s %s: %v", name, format, err)
			}
			if st, _ := f.Stats(); st.Frames != 3 || st.Received != 3 {
				t.Errorf("%s %s: %+v", name, format, st)
			}
			f.Close()
			r.Close()
			pw.Close()
		}
	}
}

type fileUnbuffered struct{ io.Writer }

func (fileUnbuffered) Flush() error { return nil }

func TestBufferedMeansThatNothingIsRead(t *testing.T) {
	r := &fileCounter{r: bytes.NewReader(bytes.Join(filePcap(), nil))}
	f, _ := NewReader(r, "x.pcap", nil)
	if f.Buffered() || r.n != 0 {
		t.Errorf("before the first frame: %d reads", r.n)
	}
	var fr decode.Frame
	for i := range 3 {
		if i > 0 && !f.Buffered() {
			t.Errorf("frame %d is not buffered", i)
		}
		if err := f.ReadFrame(&fr); err != nil {
			t.Fatal(err)
		}
	}
	if f.Buffered() || r.n != 1 {
		t.Errorf("after the last frame: %d reads, one has all", r.n)
	}
	if err := f.ReadFrame(&fr); err != io.EOF || !f.Buffered() {
		t.Errorf("at the end: %v", err)
	}
}

type fileCounter struct {
	r io.Reader
	n int
}

func (c *fileCounter) Read(p []byte) (int, error) { c.n++; return c.r.Read(p) }

func TestCloseEndsAReadThatWaits(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*File, *os.File, error){
		"standard input": func() (*File, *os.File, error) { // a blocking descriptor, unknown to the poller
			var p [2]int
			if err := syscall.Pipe(p[:]); err != nil {
				return nil, nil, err
			}
			r := os.NewFile(uintptr(p[0]), "stdin")
			t.Cleanup(func() { r.Close() })
			f, err := OpenFile("-", &FileConfig{Stdin: r})
			return f, os.NewFile(uintptr(p[1]), "stdout"), err
		},
		"os.Pipe": func() (*File, *os.File, error) {
			r, w, err := os.Pipe()
			if err != nil {
				return nil, nil, err
			}
			t.Cleanup(func() { r.Close() })
			f, err := NewReader(r, "pipe", nil)
			return f, w, err
		},
		"fifo": func() (*File, *os.File, error) {
			w, err := os.OpenFile(fifo, os.O_RDWR, 0)
			if err != nil {
				return nil, nil, err
			}
			f, err := OpenFile(fifo, nil)
			return f, w, err
		},
	} {
		for _, begun := range []bool{false, true} {
			f, w, err := open()
			if err != nil {
				t.Fatal(err)
			}
			var fr decode.Frame
			if begun {
				if _, err := w.Write(bytes.Join(filePcap()[:2], nil)); err != nil {
					t.Fatal(err)
				}
				if err := f.ReadFrame(&fr); err != nil {
					t.Fatal(err)
				}
			}
			done := make(chan error)
			go func() { done <- f.ReadFrame(&fr) }()
			// Whether the read waits already or not: it must end.
			runtime.Gosched()
			if err := f.Close(); err != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
			select {
			case err := <-done:
				if err != net.ErrClosed {
					t.Errorf("%s: ReadFrame: %v", name, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: ReadFrame still waits", name)
			}
			if err := f.Close(); err != nil {
				t.Errorf("%s: second Close: %v", name, err)
			}
			w.Close()
		}
	}
}

func TestAfterClose(t *testing.T) {
	f, _ := NewReader(bytes.NewReader(bytes.Join(filePcap(), nil)), "x.pcap", nil)
	var fr decode.Frame
	if err := f.ReadFrame(&fr); err != nil {
		t.Fatal(err)
	}
	if err := f.SetReadDeadline(time.Unix(0, 0)); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := f.ReadFrame(&fr); err != net.ErrClosed {
			t.Error(err)
		}
	}
	if string(fr.Data) != "first" {
		t.Errorf("a frame's bytes changed: %q", fr.Data)
	}
	if st, err := f.Stats(); err != nil || st.Frames != 1 {
		t.Error(st, err)
	}
}

func TestNoDescriptorIsLeftAfterClose(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	name := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(name, bytes.Join(filePcap(), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	before := count()
	for range 10 {
		for _, open := range []func() (*File, error){
			func() (*File, error) { return OpenFile(name, nil) },
			func() (*File, error) { return NewReader(r, "pipe", nil) },
		} {
			f, err := open()
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestFilterIsCompiledForEachLinkType(t *testing.T) {
	o := binary.LittleEndian
	udp := string(fileEther(0))
	tcp := udp[:23] + "\x06" + udp[24:]
	file := bytes.Join([][]byte{
		ngSection(o), ngIface(o, 1, 0), ngIface(o, 101, 0), ngIface(o, 147, 0), // a link type for private use
		ngPacket(o, 0, 1, udp, 42), ngPacket(o, 0, 2, tcp, 42), ngPacket(o, 1, 3, tcp[14:], 28), ngPacket(o, 1, 4, udp[14:], 28),
	}, nil)
	f, err := NewReader(bytes.NewReader(file), "x.pcapng", &FileConfig{Filter: "udp port 7"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := fileReadAll(t, f)
	want := []decode.Frame{
		{Time: 1000, Link: 1, Wire: 42, Data: []byte(udp)},
		{Time: 4000, Link: 101, Iface: 1, Wire: 28, Data: []byte(udp[14:])},
	}
	if d := cmp.Diff(want, got); d != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, d)
	}
	if st, _ := f.Stats(); st != (Stats{Frames: 2, Received: 4}) {
		t.Errorf("%+v", st)
	}

	file = append(file, ngPacket(o, 2, 0, udp, 42)...)
	f, err = NewReader(bytes.NewReader(file), "x.pcapng", &FileConfig{Filter: "udp port 7"})
	if err != nil {
		t.Fatal(err)
	}
	got, err = fileReadAll(t, f)
	if len(got) != 2 || errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), "read x.pcapng: link type 147: ") {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

func TestBufferedLooksBehindFramesThatAreLeftOut(t *testing.T) {
	o := binary.LittleEndian
	udp := string(fileEther(0))
	file := append(filePcapHeader(o, pcapMicro, 0, 1), filePcapRecord(o, 0, 0, udp, 42)...)
	file = append(file, filePcapRecord(o, 0, 0, strings.Repeat("x", 42), 42)...)
	f, err := NewReader(io.MultiReader(bytes.NewReader(file), bytes.NewReader(file[24:])), "x.pcap", &FileConfig{Filter: "udp"})
	if err != nil {
		t.Fatal(err)
	}
	var fr decode.Frame
	for range 2 {
		if err := f.ReadFrame(&fr); err != nil {
			t.Fatal(err)
		}
		if f.Buffered() {
			t.Error("buffered, but what is there does not pass the filter")
		}
	}
	if err := f.ReadFrame(&fr); err != io.EOF {
		t.Error(err)
	}
}

func TestBadFilterIsToldBeforeTheFileIsOpened(t *testing.T) {
	_, err := OpenFile("does-not-exist.pcap", &FileConfig{Filter: "port and"})
	var syntax *pcapfilter.SyntaxError
	if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), "parse filter: ") {
		t.Error(err)
	}
}

func TestReadFrameDoesNotAllocate(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap": fileLarge(20000), "pcapng": ngLarge(20000), "not tcp": fileLarge(20000),
		"greater 1000": fileLarge(20000), // of frames that were cut
	} {
		cfg := new(FileConfig)
		if strings.Contains(name, " ") {
			cfg.Filter = name
		}
		f, err := NewReader(bytes.NewReader(file), name, cfg)
		if err != nil {
			t.Fatal(err)
		}
		fr := decode.Frame{Data: make([]byte, 0, 2048)}
		if err := f.ReadFrame(&fr); err != nil { // makes the buffer
			t.Fatal(err)
		}
		next := f.ReadFrame
		for _, way := range []string{"ReadFrame", "NextFrame"} {
			if n := testing.AllocsPerRun(9000, func() {
				f.Buffered()
				if err := next(&fr); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %s: %v allocations a frame", name, way, n)
			}
			next = f.NextFrame
		}
	}
}

// fileLarge is a pcap file of n frames, as long as TCP's usually are.
func fileLarge(n int) []byte {
	b := filePcapHeader(binary.LittleEndian, pcapMicro, 262144, 1)
	for i := range n {
		b = append(b, filePcapRecord(binary.LittleEndian, uint32(i), 1, strings.Repeat("x", 54+i%100), 1514)...)
	}
	return b
}

func BenchmarkFile(b *testing.B) {
	const n = 100_000
	for _, bench := range []struct {
		name, filter string
		file         []byte
	}{
		{"pcap", "", fileLarge(n)},
		{"pcap filtered", "not tcp port 80", fileLarge(n)},
		{"pcapng", "", ngLarge(n)},
		{"pcap.gz", "", fileGzip(b, fileLarge(n))},
		{"pcap.zst", "", fileZstd(b, fileLarge(n))},
	} {
		name := filepath.Join(b.TempDir(), "x")
		if err := os.WriteFile(name, bench.file, 0o600); err != nil {
			b.Fatal(err)
		}
		cfg := &FileConfig{Filter: bench.filter}
		opens := map[string]func() (*File, error){
			"memory": func() (*File, error) { return NewReader(bytes.NewReader(bench.file), bench.name, cfg) },
			"disk":   func() (*File, error) { return OpenFile(name, cfg) },
		}
		for _, from := range []string{"memory", "disk"} {
			for _, way := range []string{"ReadFrame", "NextFrame"} {
				b.Run(bench.name+" from "+from+" "+way, func(b *testing.B) {
					b.ReportAllocs()
					var f *File
					var fr decode.Frame
					for i := range b.N {
						if i%n == 0 {
							if f != nil {
								f.Close()
							}
							var err error
							if f, err = opens[from](); err != nil {
								b.Fatal(err)
							}
						}
						var err error
						if way == "ReadFrame" {
							err = f.ReadFrame(&fr)
						} else {
							err = f.NextFrame(&fr)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
					f.Close()
				})
			}
		}
	}
}

func fileCorpus(t testing.TB) string {
	dir := filepath.Join("..", "..", "shared", "corpus")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no corpus here")
	}
	return dir
}

func TestCorpusHasAsManyFramesAsItsTruthSays(t *testing.T) {
	dir := fileCorpus(t)
	text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth map[string]struct {
		File   string
		Frames int
		Conns  []struct{ T0, T1 int64 }
	}
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	for _, want := range truth {
		f, err := OpenFile(filepath.Join(dir, want.File), nil)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := fileReadAll(t, f)
		if err != io.EOF || len(got) != want.Frames {
			t.Errorf("%s: %d frames, %v; want %d", want.File, len(got), err, want.Frames)
		}
		times := make(map[decode.Timestamp]bool)
		for _, fr := range got {
			times[fr.Time] = true
		}
		st, _ := f.Stats()
		for _, c := range want.Conns {
			if !times[decode.Timestamp(c.T0)] {
				t.Errorf("%s: no frame at %d", want.File, c.T0)
			}
			if st.BadStamps == 0 && !times[decode.Timestamp(c.T1)] {
				t.Errorf("%s: no frame at %d", want.File, c.T1)
			}
		}
		if bad := strings.Contains(want.File, "invalid"); bad != (st.BadStamps > 0) {
			t.Errorf("%s: %d bad stamps", want.File, st.BadStamps)
		}
		f.Close()
	}
}

func TestInvalidNanosecondsAreCarried(t *testing.T) {
	f, err := OpenFile(filepath.Join(fileCorpus(t), "files", "timestamp_invalid_nano.pcap"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames, err := fileReadAll(t, f)
	if err != io.EOF {
		t.Fatal(err)
	}
	var got []decode.Timestamp
	for _, fr := range frames {
		got = append(got, fr.Time)
	}
	// tcpdump prints …369.999999999, …370.1000000000 and …370.2147483648.
	want := []decode.Timestamp{1418145369_999999999, 1418145371_000000000, 1418145372_147483648}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if st, _ := f.Stats(); st.BadStamps != 2 {
		t.Errorf("%+v", st)
	}
}

// gopacket's readers are an oracle, where they read a file at all.
func TestCorpusReadsAsGopacketReadsIt(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(fileCorpus(t), "files", "*"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := fileGopacket(t, file)
		got, err := fileRead(t, bytes.NewReader(file))
		if err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		for i := range got { // what gopacket does not tell
			got[i].Link, got[i].Dir, got[i].Checksums = 0, 0, 0
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%.2000s", name, d)
		}
		compared += len(got)
	}
	t.Logf("%d frames of %d files", compared, len(names))
}

func fileGopacket(t testing.TB, file []byte) []decode.Frame {
	t.Helper()
	var r gopacket.PacketDataSource
	if bytes.HasPrefix(file, []byte("\n\r\r\n")) {
		ng, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		r = ng
	} else {
		p, err := pcapgo.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		p.SetSnaplen(262144)
		r = p
	}
	var frames []decode.Frame
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, decode.Frame{
			Time: decode.TimestampOf(ci.Timestamp), Wire: ci.Length, Data: data, Iface: uint32(ci.InterfaceIndex),
		})
	}
}

// FuzzFile reads anything twice: as it is and without a copy, and in small
// pieces with a look at Buffered before each frame. Both must end, alike.
func FuzzFile(f *testing.F) {
	pcap, ng := bytes.Join(filePcap(), nil), bytes.Join(ngFile(), nil)
	f.Add(pcap)
	f.Add(pcap[:70])
	f.Add(ng)
	f.Add(ng[:len(ng)-5])
	f.Add(append(filePcapHeader(binary.BigEndian, pcapModified, 0, 276), make([]byte, 60)...))
	f.Add(append(append([]byte(nil), ng...), ngVariety(binary.BigEndian)...))
	f.Add(fileGzip(f, pcap))
	f.Add(fileZstd(f, ng))
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := NewReader(bytes.NewReader(data), "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := NewReader(iotest.HalfReader(bytes.NewReader(data)), "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer whole.Close()
		defer pieces.Close()
		var a, b decode.Frame
		for n := 0; ; n++ {
			errA := whole.NextFrame(&a)
			buffered := pieces.Buffered()
			errB := pieces.ReadFrame(&b)
			if fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("frame %d: %v, in pieces (buffered %v) %v", n, errA, buffered, errB)
			}
			if errA != nil {
				if errA != io.EOF && !errors.Is(errA, ErrFormat) {
					t.Fatalf("frame %d: %v is not ErrFormat", n, errA)
				}
				break
			}
			if d := cmp.Diff(a, b, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("frame %d in pieces:\n%s", n, d)
			}
			if len(a.Data) > maxRecord || a.Wire < len(a.Data) {
				t.Fatalf("frame %d: %d bytes of %d", n, len(a.Data), a.Wire)
			}
		}
		if a, b := whole.stats, pieces.stats; a != b || a.Frames != a.Received {
			t.Fatalf("%+v, in pieces %+v", a, b)
		}
	})
}

// A filter's len is the length on the wire, also where a snaplen cut the frame.
func TestFilterLengthIsTheWires(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, &WriterConfig{Snaplen: 40})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{60, 1500} {
		if err := w.WriteFrame(&decode.Frame{Link: decode.LinkEthernet, Wire: n, Data: make([]byte, n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string][]int{"greater 1000": {1500}, "less 100": {60}, "len > 40": {60, 1500}} {
		r, err := NewReader(bytes.NewReader(b.Bytes()), "x", &FileConfig{Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		var f decode.Frame
		for r.ReadFrame(&f) == nil {
			got = append(got, f.Wire)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: lengths %v, want %v", filter, got, want)
		}
	}
}
