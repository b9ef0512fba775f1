package kernel

// Listener is what the kernel knows of a TCP socket in LISTEN.
type Listener struct {
	Queue int    // connections that nobody has accepted yet
	Limit int    // the backlog in force: one more than this fits the queue
	Drops uint32 // SYNs, and ACKs of handshakes, that it has dropped since listen(2)
}
