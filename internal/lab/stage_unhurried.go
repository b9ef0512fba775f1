package lab

import (
	"errors"
	"os"
	"strconv"
	"time"

	"finack/internal/privnet"
)

// linuxRTO is the least retransmission timeout of Linux.
const linuxRTO = 200 * time.Millisecond

// unhurried has both hosts wait for so long before they send again what is not
// acknowledged. It is for scenarios that are not about that: on a busy machine
// the wire may stall for longer than linuxRTO.
func (s *stage) unhurried(wait time.Duration) error {
	for _, h := range []*privnet.Host{s.client, s.server} {
		if err := s.setSysctl(h, "net.ipv4.tcp_early_retrans", "0"); err != nil { // no tail loss probe
			return err
		}
		err := s.setSysctl(h, "net.ipv4.tcp_rto_min_us", strconv.FormatInt(wait.Microseconds(), 10))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it is since Linux 6.11
			return err
		}
	}
	return nil
}
