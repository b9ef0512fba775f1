package capture

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"finack/decode"
)

// ended waits for the goroutine that reads f ahead to end.
func ended(t *testing.T, f *File) {
	t.Helper()
	a, ok := f.src.(*ahead)
	if !ok {
		t.Fatal("nothing reads ahead")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range a.full { // closed by the goroutine when it ends
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the goroutine that reads ahead goes on")
	}
}

// However a compressed file is left, nothing goes on reading it.
func TestReadingAheadEndsWithTheFile(t *testing.T) {
	for format, file := range map[string][]byte{"gzip": fileGzip(t, fileLarge(50_000)), "zstd": fileZstd(t, fileLarge(50_000))} {
		name := filepath.Join(t.TempDir(), "x.pcap")
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
		var fr decode.Frame
		for _, frames := range []int{0, 1, 20_000} {
			f, err := OpenFile(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range frames {
				if err := f.ReadFrame(&fr); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if err := f.ReadFrame(&fr); err != net.ErrClosed {
				t.Errorf("%s, closed after %d frames: %v", format, frames, err)
			}
			ended(t, f)
		}
		// At the end of the file, though it is not closed.
		f, err := OpenFile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := fileReadAll(t, f); len(got) != 50_000 || err != io.EOF {
			t.Errorf("%s: %d frames, %v", format, len(got), err)
		}
		ended(t, f)
		f.Close()

		// A pipe that nobody writes to any more, and that is not closed.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		go w.Write(file[:len(file)/2])
		if f, err = NewReader(r, "pipe", nil); err != nil {
			t.Fatal(err)
		}
		if err := f.ReadFrame(&fr); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		closed := make(chan error)
		go func() {
			for {
				if err := f.ReadFrame(&fr); err != nil {
					closed <- err
					return
				}
			}
		}()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := <-closed; err != net.ErrClosed {
			t.Errorf("%s: a read that waits: %v", format, err)
		}
		ended(t, f)

		// A reader that Close cannot end: its goroutine ends when it returns.
		pr, pw := io.Pipe()
		if f, err = NewReader(pr, "pipe", nil); err != nil {
			t.Fatal(err)
		}
		go pw.Write(file[:len(file)/2])
		if err := f.ReadFrame(&fr); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		f.Close()
		if err := f.ReadFrame(&fr); err != net.ErrClosed {
			t.Errorf("%s: %v", format, err)
		}
		pw.Close()
		ended(t, f)
	}
}

// As much as is said is read ahead, no more, and all of it arrives.
func TestReadingAheadIsBounded(t *testing.T) {
	own := errors.New("own")
	for i, want := range []error{nil, own, nil, own} {
		text := bytes.Repeat([]byte("no end"), 1<<20)
		r := &fileAhead{r: io.MultiReader(bytes.NewReader(text), fileFailing{cmp.Or(want, io.EOF)})}
		stop := make(chan struct{})
		defer close(stop)
		a := readAhead(r, i < 2, stop)
		got := make([]byte, 0, len(text))
		var err error
		for err == nil {
			var n int
			n, err = a.Read(got[len(got):min(len(got)+1000, cap(got))])
			got = got[:len(got)+n]
			r.used.Store(int64(len(got)))
			if len(got) == cap(got) {
				_, err = a.Read(make([]byte, 1))
			}
		}
		if !bytes.Equal(got, text) || err != cmp.Or(want, io.EOF) {
			t.Errorf("%d bytes of %d, %v", len(got), len(text), err)
		}
		if again, n := a.Read(make([]byte, 1)); n != err || again != 0 {
			t.Errorf("after the end: %d, %v", again, n)
		}
		// A read is under way, and a piece may be used up and not yet said so.
		if most := r.most.Load(); most < aheadSize || most > (aheadPieces+1)*aheadSize {
			t.Errorf("%d bytes were read ahead", most)
		}
	}
}

// fileAhead finds out how many bytes it is ahead of the one who uses them.
type fileAhead struct {
	r                io.Reader
	read, used, most atomic.Int64
}

func (f *fileAhead) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.most.Store(max(f.most.Load(), f.read.Add(int64(n))-f.used.Load()))
	return n, err
}

type fileFailing struct{ err error }

func (f fileFailing) Read([]byte) (int, error) { return 0, f.err }

func TestProgressIsThatOfTheFileOnDisk(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string][]byte{"x.pcap": fileLarge(20_000), "x.pcap.gz": fileGzip(t, fileLarge(20_000))} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append([]byte("before"), file...), 0o600); err != nil {
			t.Fatal(err)
		}
		// As when standard input is a file, of which something was read.
		stdin, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		if _, err := stdin.Seek(6, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile("-", &FileConfig{Stdin: stdin})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		size := int64(len(file))
		if done, total := f.Progress(); done != 0 || total != size {
			t.Errorf("%s: %d of %d bytes before the first frame", name, done, total)
		}
		if err := f.ReadFrame(new(decode.Frame)); err != nil {
			t.Fatal(err)
		}
		if done, total := f.Progress(); done == 0 || done > size || total != size {
			t.Errorf("%s: %d of %d bytes after it", name, done, total)
		}
		if _, err := fileReadAll(t, f); err != io.EOF {
			t.Error(err)
		}
		if done, total := f.Progress(); done != size || total != size {
			t.Errorf("%s: %d of %d bytes at the end", name, done, total)
		}
	}
	f, err := NewReader(bytes.NewReader(fileLarge(1)), "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fileReadAll(t, f); err != io.EOF {
		t.Error(err)
	}
	if done, total := f.Progress(); done == 0 || total != 0 {
		t.Errorf("a reader: %d of %d bytes", done, total)
	}
}
