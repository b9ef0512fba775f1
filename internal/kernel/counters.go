// Package kernel asks the kernel what it knows of its sockets.
package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Counters holds the counters of a network namespace by their names as
// nstat(8) has them: "TcpExtListenOverflows", "UdpInCsumErrors".
type Counters map[string]int64

// ReadCounters reads the counters of the network namespace of this thread,
// /proc/net/snmp and /proc/net/netstat (proc_net(5)).
func ReadCounters() (Counters, error) {
	c := Counters{}
	for _, name := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = c.parse(string(text))
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return c, nil
}

// parse adds the counters of a file: of each two lines, one has the names and
// one the values, behind the same word.
func (c Counters) parse(text string) error {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			return fmt.Errorf("an empty line")
		case names == nil:
			names = fields
			continue
		case len(names) != len(fields) || names[0] != fields[0]:
			return fmt.Errorf("%s %d names, %s %d values", names[0], len(names)-1, fields[0], len(fields)-1)
		}
		for i := 1; i < len(fields); i++ {
			value, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return fmt.Errorf("%s %s: %w", names[0], names[i], err)
			}
			c[strings.TrimSuffix(names[0], ":")+names[i]] = value
		}
		names = nil
	}
	if names != nil {
		return fmt.Errorf("%s names without values", names[0])
	}
	return nil
}
