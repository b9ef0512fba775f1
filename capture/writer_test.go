package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
)

// fileEther is a frame of Ethernet, IPv4 and UDP, so that other programs read it
// without complaint.
func fileEther(n int) []byte {
	b := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00" +
		"\x45\x00\x00\x1c\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02" +
		"\x9c\x40\x00\x07\x00\x08\x00\x00")
	return append(b, bytes.Repeat([]byte{'x'}, n)...)
}

// fileFrames are frames of one link type.
func fileFrames() []decode.Frame {
	const t = 1_700_000_000_000_000_000
	return []decode.Frame{
		{Time: t + 123_456_789, Link: 1, Wire: 42, Data: fileEther(0)},
		{Time: t + 999_999_999, Link: 1, Wire: 1514, Data: fileEther(1)},
		{Time: t + 1, Link: 1, Wire: 44, Data: fileEther(2)}, // the clock was set back
		{Time: t + 1, Link: 1, Wire: 100_000, Data: fileEther(65_493)},
		{Time: 1, Link: 1, Wire: 45, Data: fileEther(3)},
		{Time: (1<<32)*1e9 - 1, Link: 1, Wire: 42 + 262144 - 42, Data: fileEther(262144 - 42)},
	}
}

func fileWrite(t testing.TB, w *Writer, frames []decode.Frame) {
	t.Helper()
	for i := range frames {
		if err := w.WriteFrame(&frames[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func fileWritten(t testing.TB, cfg *WriterConfig, frames []decode.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	fileWrite(t, w, frames)
	return b.Bytes()
}

func TestWrittenFilesAreReadBack(t *testing.T) {
	for _, format := range []Format{FormatPcapng, FormatPcap} {
		frames := fileFrames()
		file := fileWritten(t, &WriterConfig{Format: format}, frames)
		got, err := fileRead(t, bytes.NewReader(file))
		if d := cmp.Diff(frames, got); d != "" || err != io.EOF {
			t.Errorf("%v: %v\n%.2000s", format, err, d)
		}
		if d := cmp.Diff(frames, fileGopacket(t, file), cmp.Transformer("link", func(f decode.Frame) [3]any {
			return [3]any{f.Time, f.Wire, string(f.Data)}
		})); d != "" {
			t.Errorf("%v by gopacket:\n%.2000s", format, d)
		}
	}
}

func TestPcapngKeepsLinkTypesInterfacesAndDirections(t *testing.T) {
	frames := []decode.Frame{
		{Link: 1, Iface: 7, Dir: decode.DirInbound, Wire: 1, Data: []byte("1")},
		{Link: 276, Iface: 7, Dir: decode.DirOutbound, Wire: 2, Data: []byte("12")},
		{Link: 1, Iface: 9, Dir: decode.DirOther, Wire: 3, Data: []byte("123")},
		{Link: 1, Iface: 7, Checksums: decode.ChecksumsPartial, Wire: 4, Data: []byte("1234")},
		{Link: 0, Iface: 0, Dir: decode.DirOutbound, Checksums: decode.ChecksumsPartial, Wire: 5, Data: []byte("12345")},
		{Link: 0, Iface: 0, Time: math.MaxInt64},
	}
	got, err := fileRead(t, bytes.NewReader(fileWritten(t, nil, frames)))
	for i, n := range []uint32{0, 1, 2, 0, 3, 3} { // in order of appearance
		frames[i].Iface = n
	}
	if d := cmp.Diff(frames, got); d != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestPcapHasOneLinkType(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pcap")
	w, err := CreateFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	frames := []decode.Frame{{Link: 113, Wire: 1, Data: []byte("a")}, {Link: 1}, {Link: 113, Wire: 1, Data: []byte("b")}}
	for i, want := range []string{"", "write " + name + ": a pcap file has one link type: LINUX_SLL, not EN10MB (pcapng has many)", ""} {
		if err := w.WriteFrame(&frames[i]); (err != nil || want != "") && (err == nil || err.Error() != want) {
			t.Errorf("frame %d: %v", i, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	got, err := fileReadFile(t, name)
	if d := cmp.Diff([]decode.Frame{frames[0], frames[2]}, got); d != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, d)
	}
}

func fileReadFile(t testing.TB, name string) ([]decode.Frame, error) {
	t.Helper()
	f, err := OpenFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return fileReadAll(t, f)
}

func TestTimesThatAFormatDoesNotHave(t *testing.T) {
	for _, test := range []struct {
		format    Format
		time, got decode.Timestamp
	}{
		{FormatPcap, -1, 0},
		{FormatPcapng, -1, 0},
		{FormatPcap, math.MinInt64, 0},
		{FormatPcap, math.MaxInt64, (1<<32)*1e9 - 1},
		{FormatPcapng, math.MaxInt64, math.MaxInt64},
	} {
		file := fileWritten(t, &WriterConfig{Format: test.format}, []decode.Frame{{Time: test.time}})
		got, err := fileRead(t, bytes.NewReader(file))
		if err != io.EOF || len(got) != 1 || got[0].Time != test.got {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
}

func TestSnaplenCutsFrames(t *testing.T) {
	for _, format := range []Format{FormatPcapng, FormatPcap} {
		frames := []decode.Frame{{Wire: 3, Data: []byte("abc")}, {Wire: 0, Data: []byte("abcdefgh")}}
		got, err := fileRead(t, bytes.NewReader(fileWritten(t, &WriterConfig{Format: format, Snaplen: 5}, frames)))
		frames[1] = decode.Frame{Wire: 8, Data: []byte("abcde")}
		if d := cmp.Diff(frames, got); d != "" || err != io.EOF {
			t.Errorf("%v: %v\n%s", format, err, d)
		}
	}
	if _, err := NewWriter(io.Discard, &WriterConfig{Snaplen: 262145}); err == nil {
		t.Error("a snapshot length that tcpdump does not read is taken")
	}
}

func TestTheNameTellsTheFormat(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		"x.pcap": "\x4d\x3c\xb2\xa1", "x.cap": "\x4d\x3c\xb2\xa1", "X.PCAP": "\x4d\x3c\xb2\xa1",
		"x.pcapng": "\n\r\r\n", "x": "\n\r\r\n", "pcap": "\n\r\r\n", "x.pcap.1": "\n\r\r\n",
	} {
		w, err := CreateFile(filepath.Join(dir, name), &WriterConfig{Format: FormatPcap})
		if err != nil {
			t.Fatal(err)
		}
		fileWrite(t, w, fileFrames()[:1])
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s begins with %q, %v", name, got[:4], err)
		}
	}
	for _, name := range []string{"x.pcap.gz", "x.pcapng.zst"} {
		if _, err := CreateFile(filepath.Join(dir, name), nil); err == nil {
			t.Errorf("%s is written uncompressed", name)
		}
	}
	if _, err := CreateFile(filepath.Join(dir, "none", "x.pcap"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestDashIsStandardOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stdout := os.Stdout
	os.Stdout = w
	out, err := CreateFile("-", &WriterConfig{Format: FormatPcap})
	os.Stdout = stdout
	if err != nil {
		t.Fatal(err)
	}
	frames := fileFrames()[:2]
	fileWrite(t, out, frames)
	if err := w.Close(); err != nil {
		t.Errorf("Writer.Close closed standard output: %v", err)
	}
	got, err := fileRead(t, r)
	if d := cmp.Diff(frames, got); d != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, d)
	}
}

// fileChunks records each Write.
type fileChunks struct{ chunks [][]byte }

func (c *fileChunks) Write(p []byte) (int, error) {
	c.chunks = append(c.chunks, bytes.Clone(p))
	return len(p), nil
}

func TestEveryWriteEndsWithAWholeRecord(t *testing.T) {
	for _, format := range []Format{FormatPcapng, FormatPcap} {
		var out fileChunks
		w, err := NewWriter(&out, &WriterConfig{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		const n = 3000
		for i := range n {
			size := i % 1500
			if i%1000 == 999 {
				size = 262144 // alone larger than what is collected
			}
			if err := w.WriteFrame(&decode.Frame{Link: 1, Iface: uint32(i / 100), Wire: size, Data: make([]byte, size)}); err != nil {
				t.Fatal(err)
			}
			if i%700 == 0 {
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
				if got, err := fileRead(t, bytes.NewReader(bytes.Join(out.chunks, nil))); len(got) != i+1 || err != io.EOF {
					t.Errorf("%v: after a Flush %d frames of %d are there, %v", format, len(got), i+1, err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if len(out.chunks) < 10 {
			t.Errorf("%v: only %d writes", format, len(out.chunks))
		}
		for i := range out.chunks {
			if _, err := fileRead(t, bytes.NewReader(bytes.Join(out.chunks[:i+1], nil))); err != io.EOF {
				t.Errorf("%v: after write %d: %v", format, i, err)
			}
		}
		if got, _ := fileRead(t, bytes.NewReader(bytes.Join(out.chunks, nil))); len(got) != n {
			t.Errorf("%v: %d frames", format, len(got))
		}
	}
}

// fileDisk is a file on a disk that becomes full.
type fileDisk struct {
	*os.File
	free int
}

func (d *fileDisk) Write(p []byte) (int, error) {
	n, err := d.File.Write(p[:min(d.free, len(p))])
	if d.free -= n; err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: d.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func TestAFullDiskLeavesWholeRecords(t *testing.T) {
	for _, ext := range []string{".pcap", ".pcapng"} {
		for free := 0; free < 600; free += 7 {
			name := filepath.Join(t.TempDir(), "x"+ext)
			w, err := CreateFile(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.w = &fileDisk{w.file, free}
			var first error
			n, flushed := 0, 0
			for first == nil {
				if err := w.WriteFrame(&decode.Frame{Link: 1, Wire: n, Data: make([]byte, n)}); err != nil {
					t.Fatal(err)
				}
				if n++; n%3 == 0 {
					if first = w.Flush(); first == nil {
						flushed = n
					}
				}
			}
			if !errors.Is(first, syscall.ENOSPC) || !strings.Contains(first.Error(), name) {
				t.Fatal(first)
			}
			if err := w.WriteFrame(new(decode.Frame)); err != first {
				t.Errorf("WriteFrame after the error: %v", err)
			}
			if err := w.Close(); err != first {
				t.Errorf("Close after the error: %v", err)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) == 0 && flushed == 0 {
				continue // not even the header had room
			}
			got, err := fileReadFile(t, name)
			if err != io.EOF || len(got) < flushed || len(b) > free {
				t.Errorf("%s with %d bytes: %d frames of at least %d, %v", ext, free, len(got), flushed, err)
			}
		}
	}
}

func TestWriteErrorsAreFinalAndNameTheFile(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	w, err := CreateFile("/dev/full", nil)
	if err != nil {
		t.Fatal(err)
	}
	fr := decode.Frame{Data: make([]byte, 1000)}
	for err == nil {
		err = w.WriteFrame(&fr)
	}
	if !errors.Is(err, syscall.ENOSPC) || err.Error() != "write /dev/full: no space left on device" {
		t.Error(err)
	}
	if again := w.Flush(); again != err {
		t.Error(again)
	}
	if again := w.Close(); again != err {
		t.Error(again)
	}
	if again := w.Close(); again != nil {
		t.Error(again)
	}

	for _, out := range []io.Writer{fileShort{}, fileShort{errors.New("no more")}} {
		w, _ := NewWriter(out, nil)
		if err := w.Close(); err == nil || !strings.HasPrefix(err.Error(), "write capture: ") {
			t.Error(err)
		}
	}
}

type fileShort struct{ err error }

func (s fileShort) Write(p []byte) (int, error) { return len(p) - 1, s.err }

func TestWriterAfterClose(t *testing.T) {
	w, err := CreateFile(filepath.Join(t.TempDir(), "x.pcapng"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.WriteFrame(new(decode.Frame)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := w.Flush(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestWriteFrameDoesNotAllocate(t *testing.T) {
	for _, format := range []Format{FormatPcapng, FormatPcap} {
		w, _ := NewWriter(io.Discard, &WriterConfig{Format: format})
		a := decode.Frame{Link: 1, Dir: decode.DirInbound, Wire: 1514, Data: make([]byte, 1514)}
		b := a
		b.Iface = 1
		if n := testing.AllocsPerRun(1000, func() {
			if err := errors.Join(w.WriteFrame(&a), w.WriteFrame(&b)); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", format, n)
		}
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, format := range []Format{FormatPcapng, FormatPcap} {
		b.Run(format.String(), func(b *testing.B) {
			w, _ := NewWriter(io.Discard, &WriterConfig{Format: format})
			fr := decode.Frame{Link: 1, Dir: decode.DirInbound, Wire: 1514, Data: make([]byte, 100)}
			b.ReportAllocs()
			for range b.N {
				if err := w.WriteFrame(&fr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fileTool runs another program on a file and returns its lines.
func fileTool(t *testing.T, name string, args ...string) []string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	if ids, err := os.ReadFile("/proc/self/uid_map"); err == nil && name == "tcpdump" && !bytes.Contains(ids, []byte("4294967295")) {
		// Root of a user namespace: tcpdump wants to become another user, and
		// there is none. In one more namespace it is nobody and stays so.
		name, args = "unshare", append([]string{"--user", name}, args...)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func TestTsharkReadsWhatIsWritten(t *testing.T) {
	for _, ext := range []string{".pcap", ".pcapng"} {
		name := filepath.Join(t.TempDir(), "x"+ext)
		w, err := CreateFile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		frames := fileFrames()
		frames[0].Dir, frames[1].Dir = decode.DirOutbound, decode.DirInbound
		fileWrite(t, w, frames)
		var want []string
		for _, fr := range frames {
			dir := map[decode.Direction]string{decode.DirOutbound: "0x00000002", decode.DirInbound: "0x00000001"}[fr.Dir]
			if ext == ".pcap" {
				dir = ""
			}
			want = append(want, fmt.Sprintf("%d.%09d\t%d\t%d\t%s", fr.Time/1e9, fr.Time%1e9, fr.Wire, len(fr.Data), dir))
		}
		got := fileTool(t, "tshark", "-n", "-r", name, "-T", "fields",
			"-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.packet_flags_direction")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", ext, d)
		}
	}
}

func TestTcpdumpReadsWhatIsWritten(t *testing.T) {
	for _, ext := range []string{".pcap", ".pcapng"} {
		name := filepath.Join(t.TempDir(), "x"+ext)
		w, err := CreateFile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		frames := fileFrames()
		frames[5].Time = (1<<31)*1e9 - 1 // tcpdump does not print years after 2038
		fileWrite(t, w, frames)
		got := fileTool(t, "tcpdump", "-nn", "-tt", "--nano", "-r", name)
		if len(got) != len(frames) {
			t.Errorf("%s: %d lines:\n%s", ext, len(got), strings.Join(got, "\n"))
			continue
		}
		for i, fr := range frames {
			want := fmt.Sprintf("%d.%09d IP 10.0.0.1.40000 > 10.0.0.2.7: UDP", fr.Time/1e9, fr.Time%1e9)
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: got %s, want %s", ext, got[i], want)
			}
		}
	}
}

// A capture that saw nothing is still a capture.
func TestAFileWithoutFramesIsValid(t *testing.T) {
	for _, ext := range []string{".pcap", ".pcapng"} {
		name := filepath.Join(t.TempDir(), "x"+ext)
		w, err := CreateFile(name, &WriterConfig{Link: decode.LinkEthernet})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		fileWrite(t, w, nil)
		if got, err := fileReadFile(t, name); len(got) != 0 || err != io.EOF {
			t.Errorf("%s: %d frames, %v", ext, len(got), err)
		}
		for _, tool := range []string{"tcpdump", "tshark"} {
			if got := fileTool(t, tool, "-n", "-r", name); len(got) != 1 || got[0] != "" {
				t.Errorf("%s by %s: %q", ext, tool, got)
			}
		}
	}
}

// Everything that the corpus holds can be written and read back, and tshark
// sees the same times and lengths in the copy.
func TestCorpusCopiesAreEqual(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(fileCorpus(t), "files", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		frames, err := fileReadFile(t, name)
		if err != io.EOF {
			t.Fatal(err)
		}
		for _, format := range []Format{FormatPcapng, FormatPcap} {
			got, err := fileRead(t, bytes.NewReader(fileWritten(t, &WriterConfig{Format: format}, frames)))
			if format == FormatPcap {
				for i := range got { // what pcap does not keep
					got[i].Dir, got[i].Checksums, got[i].Iface = frames[i].Dir, frames[i].Checksums, frames[i].Iface
				}
			}
			if d := cmp.Diff(frames, got); d != "" || err != io.EOF {
				t.Errorf("%s as %v: %v\n%.2000s", name, format, err, d)
			}
		}
	}
}
