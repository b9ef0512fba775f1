package trace

// Sequence numbers are compared modulo 2^32 (RFC 9293 section 3.4).

func seqLT(a, b uint32) bool  { return int32(a-b) < 0 }
func seqLEQ(a, b uint32) bool { return int32(a-b) <= 0 }
