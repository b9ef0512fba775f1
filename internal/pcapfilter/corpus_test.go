package pcapfilter_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/internal/pcapfilter"
)

// sharedFilters returns a list of everyday expressions, which lies beside the
// captures of FINACK_CORPUS; none where that is not set.
func sharedFilters(t testing.TB) []string {
	t.Helper()
	dir := os.Getenv("FINACK_CORPUS")
	if dir == "" {
		return nil
	}
	list, err := os.ReadFile(filepath.Join(dir, "../../filters.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var exprs []string
	for line := range strings.Lines(string(list)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			exprs = append(exprs, line)
		}
	}
	return exprs
}

// corpus returns the frames of the captures of FINACK_CORPUS by link type.
func corpus(t testing.TB) map[decode.LinkType][]pcapfilter.Frame {
	t.Helper()
	frames := make(map[decode.LinkType][]pcapfilter.Frame)
	files, err := filepath.Glob(filepath.Join(os.Getenv("FINACK_CORPUS"), "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in FINACK_CORPUS: %v", err)
	}
	for _, name := range files {
		f, err := capture.OpenFile(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for {
			var fr decode.Frame
			if err := f.ReadFrame(&fr); err != nil { // at the end, or where the file is damaged
				break
			}
			frames[fr.Link] = append(frames[fr.Link], pcapfilter.NewFrame(filepath.Base(name), fr.Data, fr.Wire))
		}
		f.Close()
	}
	return frames
}

// TestTheCorpusIsFilteredAsByTcpdump compares every everyday expression on
// every frame of the corpus.
func TestTheCorpusIsFilteredAsByTcpdump(t *testing.T) {
	pcapfilter.NeedTcpdump(t)
	exprs := sharedFilters(t)
	if exprs == nil {
		t.Skip("FINACK_CORPUS is not set")
	}
	frames := corpus(t)
	refused := make(map[string]error)
	for _, expr := range exprs {
		if _, err := pcapfilter.Parse(expr); err != nil {
			refused[expr] = err
		}
	}
	for expr, err := range refused {
		var syntax *pcapfilter.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), "not supported: ") {
			t.Errorf("%q: %v", expr, err)
		}
		t.Log(err)
	}
	if len(refused) > 1 {
		t.Errorf("%d expressions are refused", len(refused))
	}
	total := 0
	for link, frames := range frames {
		if link == decode.LinkIPoIB {
			continue // which tcpdump cannot filter
		}
		total += len(frames)
		if link == decode.LinkEthernet {
			for _, expr := range pcapfilter.Expressions {
				pcapfilter.CompareWithTcpdump(t, uint16(link), expr, frames)
			}
		}
		for _, expr := range exprs {
			pcapfilter.CompareWithTcpdump(t, uint16(link), expr, frames)
		}
	}
	t.Logf("%d expressions, %d of them refused, on %d frames of %d link types", len(exprs), len(refused), total, len(frames))
}
