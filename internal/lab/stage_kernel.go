package lab

import (
	"os"
	"strings"

	"finack/internal/kernel"
	"finack/internal/privnet"
)

// setSysctl writes a variable of a host's network, named as by sysctl(8).
func (s *stage) setSysctl(h *privnet.Host, name, value string) error {
	return h.Do(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
	})
}

// counters reads the counters of a host's network.
func (s *stage) counters(h *privnet.Host) (c kernel.Counters, err error) {
	err = h.Do(func() (err error) {
		c, err = kernel.ReadCounters()
		return err
	})
	return c, err
}
