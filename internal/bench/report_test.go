package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The best of the rounds counts; what did not run has its reason in its row.
func TestReport(t *testing.T) {
	yardstick := &row{name: "copy", n: 1}
	yardstick.add(usage{wall: 3 * time.Second, cpu: 2 * time.Second, rss: 18e6}, nil)
	yardstick.add(usage{wall: 2 * time.Second, cpu: 3 * time.Second, rss: 19e6}, nil)
	fast := &row{name: "follow", n: 2}
	fast.add(usage{wall: time.Second, cpu: 1800 * time.Millisecond, rss: 70e6}, nil)
	broken := &row{name: "break | fall", n: 1}
	broken.add(usage{wall: time.Second}, errors.New("exit status 3"))
	missing := &row{name: "miss", n: 1, result: result{err: errNotInstalled}}

	r := Report{
		Machine: "a machine", Programs: []string{"copy 1.0"},
		Tables: []Table{comparison("Everything (10000000 packets)", 10_000_000, []*row{yardstick, fast, broken, missing})},
	}
	const text = `a machine
copy 1.0

Everything (10000000 packets)

program       cores  packets/s  × tcpdump  CPU/packet  peak memory
copy              1     5.00 M       1.00      200 ns        19 MB
follow            2    10.00 M       2.00      180 ns        70 MB
break | fall      1  failed: exit status 3
miss              1  not installed
`
	if d := cmp.Diff(text, string(r.Append(nil))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	const markdown = `- a machine
- copy 1.0

### Everything (10000000 packets)

| program      | cores | packets/s | × tcpdump | CPU/packet | peak memory |
|--------------|------:|----------:|----------:|-----------:|------------:|
| copy         |     1 |    5.00 M |      1.00 |     200 ns |       19 MB |
| follow       |     2 |   10.00 M |      2.00 |     180 ns |       70 MB |
| break \| fall |     1 | failed: exit status 3 |           |            |             |
| miss         |     1 | not installed |           |            |             |
`
	if d := cmp.Diff(markdown, string(r.AppendMarkdown(nil))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	yardstick.err = errNotInstalled
	if got := ratio(yardstick, fast); got != "?" {
		t.Errorf("ratio to what did not run: %s", got)
	}
}
