package decode

// flagNames are the control bits' names in the order of their bits.
const flagNames = "FINSYNRSTPSHACKURGECECWRAE"

// String returns the names of the bits that are set, FIN first: "SYN,ACK",
// "FIN,PSH,ACK"; "" when none is.
func (f Flags) String() string { return string(f.AppendTo(nil)) }

// AppendTo appends String's text to dst.
func (f Flags) AppendTo(dst []byte) []byte { return f.AppendSep(dst, ',') }

// AppendSep appends String's text to dst with sep between the names.
func (f Flags) AppendSep(dst []byte, sep byte) []byte {
	start := len(dst)
	for i := 0; i < len(flagNames); i += 3 {
		if f&1 != 0 {
			if len(dst) > start {
				dst = append(dst, sep)
			}
			dst = append(dst, flagNames[i:min(i+3, len(flagNames))]...)
		}
		f >>= 1
	}
	return dst
}
