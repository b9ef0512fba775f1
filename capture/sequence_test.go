package capture

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"finack/decode"
)

var _ Source = (*Sequence)(nil)

// seqFile writes a capture file whose frames have times, and tell whose they
// are; the name says the format.
func seqFile(t testing.TB, dir, name string, times ...decode.Timestamp) string {
	t.Helper()
	var b bytes.Buffer
	format := FormatPcap
	if strings.Contains(name, "pcapng") {
		format = FormatPcapng
	}
	w, err := NewWriter(&b, &WriterConfig{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range times {
		data := fmt.Appendf(nil, "%s %d", name, i)
		if err := w.WriteFrame(&decode.Frame{Link: decode.LinkRaw, Time: at, Wire: len(data), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := b.Bytes()
	switch filepath.Ext(name) {
	case ".gz":
		file = fileGzip(t, file)
	case ".zst":
		file = fileZstd(t, file)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// seqFrames reads s to the end and returns what the frames are.
func seqFrames(t testing.TB, s *Sequence) ([]string, error) {
	t.Helper()
	var got []string
	var f decode.Frame
	for {
		if err := s.ReadFrame(&f); err != nil {
			if again := s.ReadFrame(&f); again != err {
				t.Errorf("ReadFrame returned %v, then %v", err, again)
			}
			if !s.Buffered() {
				t.Error("Buffered is false although the final error is known")
			}
			return got, err
		}
		got = append(got, string(f.Data))
	}
}

func seqOpen(t testing.TB, names ...string) *Sequence {
	t.Helper()
	s, err := OpenFiles(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSequenceIsInTheOrderOfTime(t *testing.T) {
	dir := t.TempDir()
	s := seqOpen(
		t,
		seqFile(t, dir, "late.pcapng", 30, 31),
		seqFile(t, dir, "a.pcap", 1, 5, 5, 9),
		seqFile(t, dir, "b.pcap.gz", 5, 6, 20),
		seqFile(t, dir, "back.pcap.zst", 7, 2, 8), // its own order is kept
		seqFile(t, dir, "empty.pcap"),
	)
	got, err := seqFrames(t, s)
	want := []string{
		"a.pcap 0", "a.pcap 1", "a.pcap 2", "b.pcap.gz 0", "b.pcap.gz 1", "back.pcap.zst 0", "back.pcap.zst 1",
		"back.pcap.zst 2", "a.pcap 3", "b.pcap.gz 2", "late.pcapng 0", "late.pcapng 1",
	}
	if d := gocmp.Diff(want, got); d != "" || err != io.EOF {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if st, err := s.Stats(); err != nil || st != (Stats{Frames: 12, Received: 12}) {
		t.Errorf("%+v, %v", st, err)
	}
}

// Any files come out as a plain merge of them has it, however they are read.
func TestSequenceMergesAnyFiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	formats := []string{".pcap", ".pcapng", ".pcap.gz", ".pcapng.zst"}
	for round := range 60 {
		dir := t.TempDir()
		var names []string
		type frame struct {
			at   decode.Timestamp
			data string
		}
		var files [][]frame
		for i := range 1 + random.IntN(6) {
			var times []decode.Timestamp
			var frames []frame
			name := fmt.Sprint(i, formats[random.IntN(len(formats))])
			at := decode.Timestamp(random.IntN(40))
			for n := range random.IntN(12) {
				at = max(at+decode.Timestamp(random.IntN(8)-2), 0)
				times, frames = append(times, at), append(frames, frame{at, fmt.Sprint(name, " ", n)})
			}
			names, files = append(names, seqFile(t, dir, name, times...)), append(files, frames)
		}
		var want []string
		for {
			first := -1
			for i, f := range files {
				if len(f) > 0 && (first < 0 || cmp.Less(f[0].at, files[first][0].at)) {
					first = i
				}
			}
			if first < 0 {
				break
			}
			want, files[first] = append(want, files[first][0].data), files[first][1:]
		}
		s := seqOpen(t, names...)
		var got []string
		var own, lent decode.Frame
		for err := error(nil); err == nil; {
			if random.IntN(2) == 0 {
				s.Buffered()
			}
			f, next := &own, s.ReadFrame
			if random.IntN(2) == 0 {
				f, next = &lent, s.NextFrame
			}
			if err = next(f); err == nil {
				s.Buffered() // leaves f's bytes alone
				got = append(got, string(f.Data))
			} else if err != io.EOF {
				t.Fatal(err)
			}
		}
		if d := gocmp.Diff(want, got); d != "" {
			t.Fatalf("round %d (-want +got)\n%s", round, d)
		}
		if st, _ := s.Stats(); st.Frames != uint64(len(want)) || st.Received != st.Frames {
			t.Fatalf("%+v, %d frames", st, len(want))
		}
		if done, total := s.Progress(); done != total || total == 0 {
			t.Fatalf("at the end %d bytes of %d are read", done, total)
		}
	}
}

// A directory of rotated files needs a descriptor or two, not one for each.
func TestSequenceOpensWhatOverlaps(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	dir := t.TempDir()
	var names []string
	for i := range decode.Timestamp(200) {
		names = append(names, seqFile(t, dir, fmt.Sprintf("%d.pcap", i), 10*i, 10*i+5, 10*i+12))
	}
	before := descriptors()
	s := seqOpen(t, names...)
	if n := descriptors() - before; n != 0 {
		t.Errorf("%d open files before the first frame", n)
	}
	var f decode.Frame
	for n := 0; ; n++ {
		if err := s.ReadFrame(&f); err == io.EOF {
			if n != 600 {
				t.Errorf("%d frames", n)
			}
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if n := descriptors() - before; n > 2 {
			t.Fatalf("%d open files", n)
		}
	}
	if n := descriptors() - before; n != 0 {
		t.Errorf("%d open files after the last frame", n)
	}
}

// What is wrong with a file ends that file, not the others.
func TestSequenceReadsOnAfterADamagedFile(t *testing.T) {
	dir := t.TempDir()
	good := seqFile(t, dir, "good.pcap", 1, 4, 9)
	cut := func(name string, keep int, times ...decode.Timestamp) string {
		path := seqFile(t, dir, name, times...)
		if err := os.Truncate(path, int64(keep)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	record := pcapRecordLen + len("late.pcap 0")
	late := cut("late.pcap", pcapHeaderLen+2*record-1, 2, 3, 5)
	first := cut("1st.pcap", pcapHeaderLen+5, 2, 3)
	text := filepath.Join(dir, "text.pcap")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := seqFrames(t, seqOpen(t, late, text, good, first))
	if d := gocmp.Diff([]string{"good.pcap 0", "late.pcap 0", "good.pcap 1", "good.pcap 2"}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	want := fmt.Sprintf(`open %s: not a pcap or pcapng file (starts with "hello"); `, text) +
		fmt.Sprintf("read %s: cut off after 0 frames (in the middle of a record); ", first) +
		fmt.Sprintf("read %s: cut off after 1 frames (in the middle of a record)", late)
	if err.Error() != want || !errors.Is(err, ErrFormat) || errors.Is(err, io.EOF) {
		t.Errorf("error\n%v, want\n%s", err, want)
	}

	if _, err := OpenFiles([]string{text, text}, nil); !errors.Is(err, ErrFormat) || strings.Count(err.Error(), text) != 2 {
		t.Errorf("no capture at all: %v", err)
	}
	if _, err := OpenFiles([]string{good, filepath.Join(dir, "missing.pcap")}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := OpenFiles([]string{good, good}, &FileConfig{Filter: "port and"}); err == nil || errors.Is(err, ErrFormat) {
		t.Errorf("a bad filter: %v", err)
	}
	// Gone between its first frame and its turn.
	gone := seqFile(t, dir, "gone.pcap", 6)
	s := seqOpen(t, good, gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if got, err := seqFrames(t, s); len(got) != 3 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %q, %v", got, err)
	}
}

// A filter does not look for a file's first frame before its turn.
func TestSequenceFilters(t *testing.T) {
	dir := t.TempDir()
	names := []string{seqFile(t, dir, "a.pcap", 1, 4, 9), seqFile(t, dir, "longer.pcap", 2, 3, 5)}
	s, err := OpenFiles(names, &FileConfig{Filter: "greater 13"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := seqFrames(t, s)
	if d := gocmp.Diff([]string{"longer.pcap 0", "longer.pcap 1", "longer.pcap 2"}, got); d != "" || err != io.EOF {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if st, _ := s.Stats(); st != (Stats{Frames: 3, Received: 6}) {
		t.Errorf("%+v", st)
	}
}

// Standard input's next frame is waited for, and Buffered says so.
func TestSequenceWithAPipe(t *testing.T) {
	dir := t.TempDir()
	name := seqFile(t, dir, "a.pcap", 1e9+1000, 3e9)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	parts := filePcap()
	send := func(parts ...[]byte) {
		if _, err := w.Write(bytes.Join(parts, nil)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenFiles([]string{name, "-"}, &FileConfig{Stdin: r})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var f decode.Frame
	next := func(want string) {
		t.Helper()
		if err := s.ReadFrame(&f); err != nil || string(f.Data) != want {
			t.Errorf("%q, %v; want %q", f.Data, err, want)
		}
	}
	if s.Buffered() {
		t.Error("buffered before a byte came")
	}
	send(parts[0], parts[1])
	next("a.pcap 0")
	if !s.Buffered() {
		t.Error("the pipe's first frame is not buffered")
	}
	next("first")
	if s.Buffered() {
		t.Error("buffered, but the pipe may still bring an earlier frame")
	}
	send(parts[2])
	next("the second")
	if _, total := s.Progress(); total != 0 {
		t.Errorf("a pipe of %d bytes", total)
	}
	done := make(chan error)
	go func() { done <- s.ReadFrame(new(decode.Frame)) }()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != net.ErrClosed {
		t.Errorf("a read that waits: %v", err)
	}
}

func TestSequenceAfterClose(t *testing.T) {
	dir := t.TempDir()
	names := []string{seqFile(t, dir, "a.pcap", 1, 2), seqFile(t, dir, "b.pcap", 3)}
	var f decode.Frame
	for _, n := range []int{1, 2} {
		for read := range 3 {
			s := seqOpen(t, names[:n]...)
			for range min(read, n+1) {
				if err := s.ReadFrame(&f); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := s.ReadFrame(&f); err != net.ErrClosed {
				t.Errorf("%d files, %d frames read: %v", n, read, err)
			}
		}
	}
}

// Another goroutine may ask how far it has come, and close.
func TestSequenceProgress(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range decode.Timestamp(20) {
		names = append(names, seqFile(t, dir, fmt.Sprintf("%d.pcap.gz", i), i, i+1))
	}
	s := seqOpen(t, names...)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		last := int64(-1)
		for {
			done, total := s.Progress()
			if done < last || done > total {
				t.Errorf("%d bytes of %d, after %d", done, total, last)
			}
			if last = done; done == total {
				return
			}
		}
	}()
	if got, err := seqFrames(t, s); len(got) != 40 || err != io.EOF {
		t.Errorf("%d frames, %v", len(got), err)
	}
	<-watched
}

func TestSequenceDoesNotAllocate(t *testing.T) {
	dir := t.TempDir()
	var a, b []decode.Timestamp
	for i := range decode.Timestamp(4000) {
		a, b = append(a, 2*i), append(b, 2*i+1)
	}
	s := seqOpen(t, seqFile(t, dir, "a.pcap", a...), seqFile(t, dir, "b.pcapng", b...))
	fr := decode.Frame{Data: make([]byte, 0, 64)}
	for range 2 { // opens both
		if err := s.ReadFrame(&fr); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(5000, func() {
		s.Buffered()
		if err := s.ReadFrame(&fr); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkSequence(b *testing.B) {
	const frames = 20_000
	for _, bench := range []struct {
		name    string
		overlap bool
	}{{"after one another", false}, {"interleaved", true}} {
		dir := b.TempDir()
		var names []string
		for i := range decode.Timestamp(10) {
			var times []decode.Timestamp
			for n := range decode.Timestamp(frames) {
				if bench.overlap {
					times = append(times, 10*n+i)
				} else {
					times = append(times, frames*i+n)
				}
			}
			names = append(names, seqFile(b, dir, fmt.Sprintf("%d.pcap", i), times...))
		}
		b.Run(bench.name, func(b *testing.B) {
			var f decode.Frame
			b.ReportAllocs()
			s := seqOpen(b, names...)
			for range b.N {
				err := s.ReadFrame(&f)
				if err == io.EOF {
					_ = s.Close()
					s = seqOpen(b, names...)
					err = s.ReadFrame(&f)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
