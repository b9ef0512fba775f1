package decode

import "testing"

func TestFlagsText(t *testing.T) {
	for _, tt := range []struct {
		flags Flags
		want  string
	}{
		{0, ""},
		{SYN, "SYN"},
		{SYN | ACK, "SYN,ACK"},
		{FIN | PSH | ACK, "FIN,PSH,ACK"},
		{RST | ACK, "RST,ACK"},
		{AE, "AE"},
		{FIN | SYN | RST | PSH | ACK | URG | ECE | CWR | AE, "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR,AE"},
		{AE << 1, ""}, // reserved bits have no name
		{0xffff, "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR,AE"},
	} {
		if got := tt.flags.String(); got != tt.want {
			t.Errorf("Flags(%#x).String() = %q, want %q", uint16(tt.flags), got, tt.want)
		}
	}
	if got := string((FIN | ACK).AppendSep([]byte("<"), '+')); got != "<FIN+ACK" {
		t.Errorf("AppendSep = %q, want <FIN+ACK", got)
	}
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = Flags(0xffff).AppendTo(buf[:0]) }); n != 0 {
		t.Errorf("AppendTo allocates %v times", n)
	}
}
