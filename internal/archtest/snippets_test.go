package archtest

// snippets are modules that break one rule, at these places, or none.
var snippets = []struct {
	name  string
	rule  string
	files map[string]string
	want  []string
}{
	{
		name: "trace knows of files",
		rule: "imports follow the arrows",
		files: map[string]string{"trace/a.go": `package trace
import "finack/decode"
import "finack/capture"
`},
		want: []string{"trace/a.go:3:8: trace imports capture"},
	},
	{
		name: "a leaf imports",
		rule: "imports follow the arrows",
		files: map[string]string{"decode/a_other.go": `//go:build !linux

package decode
import _ "finack/raw"
`},
		want: []string{"decode/a_other.go:4:8: decode imports raw"},
	},
	{
		name: "main links testing",
		rule: "imports follow the arrows",
		files: map[string]string{"cmd/finack/main.go": `package main
import "finack/internal/pipeline"
import "finack/tracetest"
`},
		want: []string{"cmd/finack/main.go:3:8: cmd/finack imports tracetest"},
	},
	{
		name:  "a new package",
		rule:  "imports follow the arrows",
		files: map[string]string{"internal/util/a.go": "package util\n"},
		want:  []string{"internal/util/a.go:1:9: package internal/util is not in the table of arrows"},
	},
	{
		name:  "a package at the root",
		rule:  "imports follow the arrows",
		files: map[string]string{"a.go": "package finack\n"},
		want:  []string{"a.go:1:9: package . is not in the table of arrows"},
	},
	{
		name: "tests go anywhere",
		files: map[string]string{
			"decode/a_test.go":     "package decode_test\nimport \"finack/capture\"\n",
			"trace/gopack_test.go": "package trace\nimport \"github.com/google/gopacket/layers\"\n",
			"capture/a_test.go":    "package capture\nimport \"time\"\nvar start = time.Now()\nvar n int\nfunc f() { n++ }\n",
		},
	},

	{
		name: "pcapgo reads files",
		rule: "gopacket stays in decode",
		files: map[string]string{
			"capture/a.go": "package capture\nimport \"github.com/google/gopacket/pcapgo\"\n",
			"decode/a.go":  "package decode\nimport \"github.com/google/gopacket/layers\"\n",
			"raw/a.go":     "package raw\nimport \"github.com/google/gopacket\"\n",
		},
		want: []string{
			"capture/a.go:2:8: capture imports github.com/google/gopacket/pcapgo",
			"raw/a.go:2:8: raw imports github.com/google/gopacket",
		},
	},

	{
		name: "in code and in a test",
		rule: "never these parts of gopacket",
		files: map[string]string{
			"decode/a.go":       "package decode\nimport \"github.com/google/gopacket/tcpassembly/tcpreader\"\n",
			"capture/a_test.go": "package capture\nimport \"github.com/google/gopacket/pcap\"\n",
			"raw/a_test.go":     "package raw\nimport \"github.com/google/gopacket/afpacket\"\n",
			"trace/a_test.go":   "package trace\nimport \"github.com/google/gopacket/reassembly\"\nimport \"github.com/google/gopacket/pcapgo\"\n",
		},
		want: []string{
			"capture/a_test.go:2:8: imports github.com/google/gopacket/pcap",
			"decode/a.go:2:8: imports github.com/google/gopacket/tcpassembly/tcpreader",
			"raw/a_test.go:2:8: imports github.com/google/gopacket/afpacket",
			"trace/a_test.go:2:8: imports github.com/google/gopacket/reassembly",
		},
	},

	{
		name: "outside its files",
		rule: "unsafe has an address",
		files: map[string]string{
			"capture/ring_linux.go":        "package capture\nimport \"unsafe\"\n",
			"capture/ring_unsafe_linux.go": "package capture\nimport \"unsafe\"\n",
		},
		want: []string{"capture/ring_linux.go:2:8: imports unsafe"},
	},

	{
		name: "in main and in echo",
		rule: "system calls have an address",
		files: map[string]string{
			"cmd/finack/a_linux.go":       "package main\nimport \"golang.org/x/sys/unix\"\n",
			"internal/echo/a_linux.go":    "package echo\nimport sys \"golang.org/x/sys/unix\"\n",
			"internal/privnet/a_linux.go": "package privnet\nimport \"golang.org/x/sys/unix\"\n",
			"capture/a_linux.go":          "package capture\nimport \"golang.org/x/sys/unix\"\n",
		},
		want: []string{
			"cmd/finack/a_linux.go:2:8: cmd/finack imports golang.org/x/sys/unix",
			"internal/echo/a_linux.go:2:8: internal/echo imports golang.org/x/sys/unix",
		},
	},

	{
		name: "called, renamed, or handed on",
		rule: "time is an argument",
		files: map[string]string{
			"trace/a.go": `package trace
import "time"
type config struct { now func() time.Time }
func f() (time.Time, config) {
	return time.Now(), config{now: time.Now}
}
`,
			"decode/a.go": `package decode
import clock "time"
func f() { clock.Sleep(clock.Second) }
`,
			"internal/render/a.go": `package render
import . "time"
func f() Time { return Now() }
`,
			"raw/a_linux.go": `package raw
import "context"
func f() { context.WithTimeout(nil, 1) }
`,
		},
		want: []string{
			"decode/a.go:3:12: uses time.Sleep",
			"internal/render/a.go:2:8: imports the names of time",
			"raw/a_linux.go:3:12: uses context.WithTimeout",
			"trace/a.go:5:9: uses time.Now",
			"trace/a.go:5:33: uses time.Now",
		},
	},
	{
		name: "capture's files, not its live part",
		rule: "time is an argument",
		files: map[string]string{
			"capture/file.go":       "package capture\nimport \"time\"\nfunc a() any { return time.After(1) }\n",
			"capture/pcapng.go":     "package capture\nimport \"time\"\nfunc b() any { return time.Since(time.Time{}) }\n",
			"capture/writer.go":     "package capture\nimport \"time\"\nfunc c() any { return time.NewTicker(1) }\n",
			"capture/live_linux.go": "package capture\nimport \"time\"\nfunc d() any { return time.Now() }\n",
		},
		want: []string{
			"capture/file.go:3:23: uses time.After",
			"capture/pcapng.go:3:23: uses time.Since",
			"capture/writer.go:3:23: uses time.NewTicker",
		},
	},
	{
		name: "time without a clock",
		files: map[string]string{"trace/a.go": `package trace
import "time"
type stamps struct{}
func (stamps) Now() int { return 0 }
func f(t time.Time) bool {
	time := stamps{}
	return t.After(t) && time.Now() == 0
}
`},
	},

	{
		name: "below cmd",
		rule: "only main exits",
		files: map[string]string{
			"cmd/finack/main.go": "package main\nimport \"os\"\nfunc main() { os.Exit(1) }\n",
			"internal/lab/a.go":  "package lab\nimport \"log\"\nfunc f() { log.Fatalf(\"\") }\n",
			"capture/a.go":       "package capture\nimport \"os\"\nvar exit = os.Exit\n",
		},
		want: []string{
			"capture/a.go:3:12: uses os.Exit",
			"internal/lab/a.go:3:12: uses log.Fatalf",
		},
	},

	{
		name: "a function, not a method",
		rule: "no init functions",
		files: map[string]string{"cmd/finack/a.go": `package main
type t struct{}
func (t) init() {}
func init() {}
`},
		want: []string{"cmd/finack/a.go:4:6: func init"},
	},

	{
		name: "every way to change one",
		rule: "package variables do not change",
		files: map[string]string{
			"trace/a.go": `package trace
import "errors"
var ErrX = errors.New("x")
var n, m = 1, []int{1}
var p = &point{}
var table = map[string]point{}
type point struct{ x, y int }
`,
			"trace/b_linux.go": `package trace
func f(o other.T) {
	n++
	n += 2
	m[0] = 1
	m, o = nil, o
	p.x = 1
	*p = point{}
	(table["a"]) = point{}
	delete(table, "a")
	copy(m[1:], m)
	other.Run(func() { n-- }, &n)
	for n = range 3 {
		ErrX = nil
	}
}
`,
		},
		want: []string{
			"trace/b_linux.go:3:2: changes n",
			"trace/b_linux.go:4:2: changes n",
			"trace/b_linux.go:5:2: changes m",
			"trace/b_linux.go:6:2: changes m",
			"trace/b_linux.go:7:2: changes p",
			"trace/b_linux.go:8:2: changes p",
			"trace/b_linux.go:9:2: changes table",
			"trace/b_linux.go:10:9: changes table",
			"trace/b_linux.go:11:7: changes m",
			"trace/b_linux.go:12:21: changes n",
			"trace/b_linux.go:12:29: changes n",
			"trace/b_linux.go:13:6: changes n",
			"trace/b_linux.go:14:3: changes ErrX",
		},
	},
	{
		name: "both systems' files",
		rule: "package variables do not change",
		files: map[string]string{
			"raw/a_linux.go": "package raw\nvar calls = 0\ntype T struct{}\nfunc (T) f() { calls++ }\n",
			"raw/a_other.go": "package raw\nvar calls = 0\ntype T struct{}\nfunc (T) f() { calls++ }\n",
		},
		want: []string{
			"raw/a_linux.go:4:16: changes calls",
			"raw/a_other.go:4:16: changes calls",
		},
	},
	{
		name: "made to change",
		rule: "package variables do not change",
		files: map[string]string{"capture/a.go": `package capture
import "bytes"
import "sync"
import "sync/atomic"
var buf bytes.Buffer
var pool = sync.Pool{}
var count = new(atomic.Int64)
`},
		want: []string{
			"capture/a.go:5:5: var buf has no value yet",
			"capture/a.go:6:5: var pool uses sync",
			"capture/a.go:7:5: var count uses sync/atomic",
		},
	},
	{
		name: "another package's",
		rule: "package variables do not change",
		files: map[string]string{"cmd/finack/a.go": `package main
import "finack/capture"
import "os"
func f() {
	capture.ErrFormat = nil
	os.Args[0] = "x"
}
`},
		want: []string{
			"cmd/finack/a.go:5:2: changes capture.ErrFormat",
			"cmd/finack/a.go:6:2: changes os.Args",
		},
	},
	{
		name: "what does not change",
		files: map[string]string{"decode/a.go": `package decode
import _ "embed"
import "errors"
import "io"
var ErrX = errors.New("x")
var _ io.Reader = (*T)(nil)
var names = []string{"a", "b"}
//go:embed schema.json
var schema string
type T struct{ names []string }
func f(ErrX error, t *T) *string {
	n, names := 0, names
	names, n, ErrX = nil, 1, nil
	t.names = nil
	for n = range 3 {
		n++
	}
	_ = n
	return &names[n]
}
func g() (first *string, schema string) {
	schema = ErrX.Error()
	return &names[0], schema
}
`},
	},

	{
		name: "in the program",
		rule: "testing stays in tests",
		files: map[string]string{
			"internal/privnet/a.go": "package privnet\nimport \"testing\"\n",
			"trace/a.go":            "package trace\nimport \"testing/fstest\"\n",
		},
		want: []string{
			"internal/privnet/a.go:2:8: internal/privnet imports testing",
			"trace/a.go:2:8: trace imports testing/fstest",
		},
	},
}
