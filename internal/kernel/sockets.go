package kernel

import (
	"net/netip"
	"time"

	"finack/trace"
)

// Socket is a TCP socket as sock_diag(7) tells it. TIME_WAIT, and FIN_WAIT_2
// that no program owns, have no inode.
type Socket struct {
	Local, Remote netip.AddrPort // IPv4-mapped addresses as IPv4
	State         trace.State

	Timer       Timer
	Expires     time.Duration // until the timer fires
	Retransmits int           // of the retransmission or probe under way

	// ReadQueue is bytes that the program has not read, a FIN one of them, and
	// WriteQueue bytes that are not acknowledged. Of a listener they are the
	// connections that nobody has accepted yet, and the backlog.
	ReadQueue, WriteQueue int

	UID   int
	Inode uint32

	// SinceACK is how long ago the last acknowledgment came (tcp_info(7)'s
	// tcpi_last_ack_recv); zero for what has no program.
	SinceACK time.Duration
}

// Timer is what a socket's timer is for.
type Timer uint8

// The timers, numbered as in the kernel's idiag_timer.
const (
	TimerNone       Timer = iota
	TimerRetransmit       // of data, SYN, FIN or SYN-ACK
	TimerKeepAlive        // also what ends FIN_WAIT_2 without a program
	TimerTimeWait
	TimerProbe // of a zero window
)

// String returns the timer's name, as ss(8) has it but for TIME_WAIT's.
func (t Timer) String() string {
	names := [...]string{"none", "on", "keepalive", "timewait", "persist"}
	if int(t) >= len(names) {
		return "unknown"
	}
	return names[t]
}

// State returns a TCP state by its number in the kernel (net/tcp_states.h),
// Unknown for none.
func State(n uint8) trace.State {
	states := [...]trace.State{
		1: trace.Established, 2: trace.SynSent, 3: trace.SynReceived, 4: trace.FinWait1, 5: trace.FinWait2,
		6: trace.TimeWait, 7: trace.Closed, 8: trace.CloseWait, 9: trace.LastAck, 10: trace.Listen, 11: trace.Closing,
		12: trace.SynReceived, // TCP_NEW_SYN_RECV: there is no socket yet
	}
	if int(n) >= len(states) {
		return trace.Unknown
	}
	return states[n]
}
