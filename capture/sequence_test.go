package capture

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"testing"

	"finack/decode"
)

func TestSequenceReadsOneFileAfterTheOther(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i, ext := range []string{".pcap", ".pcapng"} {
		name := filepath.Join(dir, "x"+ext)
		w, err := CreateFile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 + i {
			f := decode.Frame{Link: decode.LinkRaw, Time: decode.Timestamp(10*i + n), Wire: 1, Data: []byte{byte(n)}}
			if err := w.WriteFrame(&f); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	s, err := OpenFiles(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	var f decode.Frame
	for _, want := range []decode.Timestamp{0, 1, 10, 11, 12} {
		if err := s.ReadFrame(&f); err != nil || f.Time != want {
			t.Fatalf("time %d, %v; want %d", f.Time, err, want)
		}
	}
	if err := s.ReadFrame(&f); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if st, err := s.Stats(); err != nil || st.Frames != 5 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}

	if _, err := OpenFiles(append(names, filepath.Join(dir, "missing.pcap")), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	s, err = OpenFiles(names, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.ReadFrame(&f); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
