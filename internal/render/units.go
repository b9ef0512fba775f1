// Package render turns events and accounts into text, JSON lines and ladders.
// Everything appends to the caller's buffer and keeps nothing.
package render

import (
	"strconv"
	"time"

	"finack/decode"
	"finack/trace"
)

// appendDuration appends d with three significant digits and a unit: "80 ms".
func appendDuration(dst []byte, d time.Duration) []byte {
	d = max(0, d)
	unit, name := time.Second, " s"
	switch {
	case d == 0:
		return append(dst, "0 s"...)
	case d < time.Microsecond:
		unit, name = 1, " ns"
	case d < time.Millisecond:
		unit, name = time.Microsecond, " µs"
	case d < time.Second:
		unit, name = time.Millisecond, " ms"
	case d >= 10*time.Minute:
		unit, name = time.Minute, " min"
	}
	v := float64(d) / float64(unit)
	prec := 0
	switch {
	case unit == 1:
	case v < 9.995:
		prec = 2
	case v < 99.95:
		prec = 1
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', prec, 64)
	if prec > 0 {
		dst = trimZeros(dst, at)
	}
	return append(dst, name...)
}

// trimZeros removes zeros that end a decimal fraction begun at at, and a bare point.
func trimZeros(dst []byte, at int) []byte {
	n := len(dst)
	for n > at && dst[n-1] == '0' {
		n--
	}
	if dst[n-1] == '.' {
		n--
	}
	return dst[:n]
}

// appendBytes appends a number of bytes: "64 B", "1.5 MB" (powers of ten).
func appendBytes(dst []byte, n uint64) []byte {
	if n < 10_000 {
		return append(strconv.AppendUint(dst, n, 10), " B"...)
	}
	v, i := float64(n), -1
	for v >= 999.5 && i < 4 {
		v, i = v/1000, i+1
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', 1, 64)
	dst = trimZeros(dst, at)
	return append(append(dst, ' '), [...]string{"kB", "MB", "GB", "TB", "PB"}[i]...)
}

// appendSeconds appends d as decimal seconds, exactly.
func appendSeconds(dst []byte, d time.Duration) []byte {
	if d < 0 {
		dst, d = append(dst, '-'), -d
	}
	return appendFraction(appendInt(dst, int64(d/time.Second)), int(d%time.Second))
}

// appendFraction appends nanoseconds as a decimal fraction without the zeros
// that would end it: ".021"; nothing for none.
func appendFraction(dst []byte, nsec int) []byte {
	if nsec == 0 {
		return dst
	}
	at := len(dst)
	a, b, c, d := 2*(nsec/1e6%100), 2*(nsec/1e4%100), 2*(nsec/100%100), 2*(nsec%100)
	dst = append(
		dst, '.', byte('0'+nsec/1e8),
		pairs[a], pairs[a+1], pairs[b], pairs[b+1], pairs[c], pairs[c+1], pairs[d], pairs[d+1],
	)
	return trimZeros(dst, at)
}

// pairs are the numbers from 00 to 99.
const pairs = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

// appendTwo appends the two digits of v, which is from 0 to 99.
func appendTwo(dst []byte, v int) []byte {
	return append(dst, pairs[2*v], pairs[2*v+1])
}

// appendUint appends a number. Most have few digits.
func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n < 10:
		return append(dst, byte('0'+n))
	case n < 100:
		return appendTwo(dst, int(n))
	case n < 1000:
		return appendTwo(append(dst, byte('0'+n/100)), int(n%100))
	case n < 10_000:
		return appendTwo(appendTwo(dst, int(n/100)), int(n%100))
	default:
		return strconv.AppendUint(dst, n, 10)
	}
}

// appendInt appends a number.
func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return strconv.AppendInt(dst, n, 10)
	}
	return appendUint(dst, uint64(n))
}

// appendSince appends the time since a connection's start, in seconds with
// microseconds: "0.000014"; never a negative one.
func appendSince(dst []byte, d time.Duration) []byte {
	d = max(0, d)
	dst = strconv.AppendInt(dst, int64(d/time.Second), 10)
	return appendPadded(append(dst, '.'), int64(d%time.Second/time.Microsecond), 6)
}

// appendPadded appends v with leading zeros to width digits.
func appendPadded(dst []byte, v int64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= at && v > 0; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// appendFlags appends the names of a segment's flags, "none" when there is none.
func appendFlags(dst []byte, f decode.Flags, sep byte) []byte {
	if f == 0 {
		return append(dst, "none"...)
	}
	return f.AppendSep(dst, sep)
}

// appendNotes appends the names of what a segment repeats, each after sep.
func appendNotes(dst []byte, n trace.Note, sep string) []byte {
	for _, x := range [...]struct {
		note trace.Note
		name string
	}{
		{trace.Reused, "4-tuple used again"},
		{trace.Retransmission, "retransmission"},
		{trace.Duplicate, "duplicate"},
		{trace.OutOfOrder, "out of order"},
		{trace.Gap, "after a gap"},
		{trace.KeepAlive, "keep-alive"},
		{trace.ZeroWindowProbe, "zero-window probe"},
		{trace.ChallengeACK, "challenge ACK"},
	} {
		if n&x.note != 0 {
			dst = append(append(dst, sep...), x.name...)
		}
	}
	return dst
}

// icmpMeaning returns what an ICMP message says, in words, or "".
func icmpMeaning(icmpType, code uint8, v6 bool) string {
	type msg struct {
		typ, code uint8
		any       bool
		text      string
	}
	v4msgs := [...]msg{
		{8, 0, true, "echo request"},
		{0, 0, true, "echo reply"},
		{3, 0, false, "net unreachable"},
		{3, 1, false, "host unreachable"},
		{3, 2, false, "protocol unreachable"},
		{3, 3, false, "port unreachable"},
		{3, 4, false, "fragmentation needed"},
		{3, 13, false, "administratively prohibited"},
		{3, 0, true, "unreachable"},
		{5, 0, true, "redirect"},
		{11, 0, true, "time exceeded"},
		{12, 0, true, "parameter problem"},
	}
	v6msgs := [...]msg{
		{128, 0, true, "echo request"},
		{129, 0, true, "echo reply"},
		{1, 0, false, "no route"},
		{1, 1, false, "administratively prohibited"},
		{1, 3, false, "address unreachable"},
		{1, 4, false, "port unreachable"},
		{1, 0, true, "unreachable"},
		{2, 0, true, "packet too big"},
		{3, 0, true, "time exceeded"},
		{4, 0, true, "parameter problem"},
		{133, 0, true, "router solicitation"},
		{134, 0, true, "router advertisement"},
		{135, 0, true, "neighbor solicitation"},
		{136, 0, true, "neighbor advertisement"},
	}
	msgs := v4msgs[:]
	if v6 {
		msgs = v6msgs[:]
	}
	for i := range msgs {
		if m := &msgs[i]; m.typ == icmpType && (m.any || m.code == code) {
			return m.text
		}
	}
	return ""
}
