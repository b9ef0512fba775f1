package decode_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/capture"
	"finack/decode"
)

// ways compares Decode's short way with the general one.
type ways struct {
	common, general decode.Decoder
	short, long     decode.Packet
	frames, took    int
}

// compare decodes f both ways. Both packets are full of what must not stay.
func (w *ways) compare(t *testing.T, f *decode.Frame) {
	t.Helper()
	soil(reflect.ValueOf(&w.short).Elem())
	soil(reflect.ValueOf(&w.long).Elem())
	w.frames++
	if !w.common.Common(f, &w.short) {
		return
	}
	w.took++
	if err := w.general.General(f, &w.long); err != nil {
		t.Errorf("%+v: the general way finds an error: %v", f, err)
	}
	if !reflect.DeepEqual(w.long, w.short) {
		t.Errorf("%+v: (-general +common)\n%s", f, cmp.Diff(w.long, w.short))
	}
}

// soil sets every field to something.
func soil(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			soil(v.Field(i))
		}
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			soil(v.Index(i))
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.ValueOf([]byte("soiled")))
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	default:
		panic("a field of a kind that this test does not know: " + v.Type().String())
	}
}

// What the short way decodes, it decodes as the general one does: every frame
// of the captures at hand, as it is, cut by a snaplen, and with any byte wrong.
func TestCommonFramesAreDecodedAsAnyOther(t *testing.T) {
	names, err := filepath.Glob("../cmd/finack/testdata/*.pcap*")
	if err != nil || len(names) == 0 {
		t.Fatal("no captures: ", err)
	}
	if dir := os.Getenv("FINACK_CORPUS"); dir != "" {
		corpus, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(corpus) == 0 {
			t.Fatal("no corpus: ", err)
		}
		names = append(names, corpus...)
	}
	var w ways
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range names {
		src, err := capture.OpenFile(name, nil)
		if errors.Is(err, capture.ErrFormat) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var f decode.Frame
		for n := 0; ; n++ {
			if err := src.ReadFrame(&f); err != nil {
				if err != io.EOF && !errors.Is(err, capture.ErrFormat) {
					t.Fatal(err)
				}
				break
			}
			w.compare(t, &f)
			f.Checksums = decode.ChecksumsComplete
			w.compare(t, &f)
			if n > 2000 { // enough of this file
				continue
			}
			whole := f.Data
			for range 20 {
				f.Data = slices.Clone(whole[:random.IntN(len(whole)+1)])
				w.compare(t, &f)
				f.Data = slices.Clone(whole)
				for range min(len(whole), 1+random.IntN(2)) {
					f.Data[random.IntN(min(len(whole), 80))] = byte(random.Uint32())
				}
				w.compare(t, &f)
			}
			f.Data = whole
		}
		src.Close()
	}
	t.Logf("%d of %d frames were common", w.took, w.frames)
	if w.took < 100 {
		t.Errorf("only %d of %d frames were common", w.took, w.frames)
	}
}
