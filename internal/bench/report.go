package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Report is what was measured.
type Report struct {
	Machine  string
	Programs []string // with their versions
	Notes    []string
	Tables   []Table
}

// Table is a table of a report.
type Table struct {
	Title  string
	Header []string
	Rows   [][]string
}

// comparison makes the table of programs that have read the same file. The
// first is the yardstick.
func comparison(title string, packets uint64, rows []*row) Table {
	t := Table{
		Title:  title,
		Header: []string{"program", "cores", "packets/s", "× tcpdump", "CPU/packet", "peak memory"},
	}
	for _, r := range rows {
		cells := []string{r.name, strconv.Itoa(r.n)}
		switch {
		case errors.Is(r.err, errNotInstalled):
			cells = append(cells, "not installed", "", "", "")
		case r.err != nil:
			cells = append(cells, "failed: "+r.err.Error(), "", "", "")
		default:
			cells = append(cells, rateOf(packets, r.wall), ratio(rows[0], r), nanos(r.cpu/time.Duration(packets)), memory(r.rss))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// ratio returns how many times as fast as the yardstick a program is.
func ratio(yardstick, r *row) string {
	if yardstick.err != nil {
		return "?"
	}
	return fmt.Sprintf("%.2f", yardstick.wall.Seconds()/r.wall.Seconds())
}

func rateOf(packets uint64, d time.Duration) string {
	return fmt.Sprintf("%.2f M", float64(packets)/d.Seconds()/1e6)
}

func nanos(d time.Duration) string { return strconv.FormatInt(d.Nanoseconds(), 10) + " ns" }

func memory(bytes int64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }

func count(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatUint(n, 10) + " " + noun
}

// Append appends the report as text for a terminal.
func (r *Report) Append(dst []byte) []byte { return r.append(dst, false) }

// AppendMarkdown appends the report as BENCHMARKS.md has it.
func (r *Report) AppendMarkdown(dst []byte) []byte { return r.append(dst, true) }

func (r *Report) append(dst []byte, markdown bool) []byte {
	item, heading := "", ""
	if markdown {
		item, heading = "- ", "### "
	}
	for _, line := range append(append([]string{r.Machine}, r.Programs...), r.Notes...) {
		if line != "" {
			dst = append(append(append(dst, item...), line...), '\n')
		}
	}
	for i := range r.Tables {
		t := &r.Tables[i]
		dst = append(append(append(append(dst, '\n'), heading...), t.Title...), "\n\n"...)
		dst = t.append(dst, markdown)
	}
	return dst
}

// append appends the table with its columns aligned, the first to the left.
func (t *Table) append(dst []byte, markdown bool) []byte {
	width := make([]int, len(t.Header))
	for _, cells := range append([][]string{t.Header}, t.Rows...) {
		for i, c := range cells {
			if !alone(cells, i) {
				width[i] = max(width[i], utf8.RuneCountInString(c))
			}
		}
	}
	dst = t.line(dst, t.Header, width, markdown)
	if markdown {
		for i, w := range width {
			dst = append(append(dst, "|-"...), strings.Repeat("-", w)...)
			if i == 0 {
				dst = append(dst, '-')
			} else {
				dst = append(dst, ':') // to the right
			}
		}
		dst = append(dst, "|\n"...)
	}
	for _, cells := range t.Rows {
		dst = t.line(dst, cells, width, markdown)
	}
	return dst
}

// alone reports whether a cell has the rest of its line: why there are no numbers.
func alone(cells []string, i int) bool {
	return i+1 < len(cells) && cells[i] != "" && cells[i+1] == ""
}

func (t *Table) line(dst []byte, cells []string, width []int, markdown bool) []byte {
	for i, c := range cells {
		pad := strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(c)))
		if i == 0 || alone(cells, i) {
			c += pad
		} else {
			c = pad + c
		}
		switch {
		case markdown:
			dst = append(append(append(dst, "| "...), strings.ReplaceAll(c, "|", `\|`)...), ' ')
		case i > 0:
			dst = append(append(dst, "  "...), c...)
		default:
			dst = append(dst, c...)
		}
	}
	if markdown {
		return append(dst, "|\n"...)
	}
	return append(bytes.TrimRight(dst, " "), '\n')
}

// Append appends what a capture contains: "9806 packets, 992 TCP connections,
// 8 UDP flows, 2914822 bytes".
func (t *Truth) Append(dst []byte) []byte {
	return fmt.Appendf(dst, "%s, %s, %s, %s\n", count(t.Packets, "packet"), count(uint64(t.Conns), "TCP connection"),
		count(uint64(t.Flows), "UDP flow"), count(t.Bytes, "byte"))
}
