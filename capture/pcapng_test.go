package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
)

func ngBlock(o fileOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	b := o.AppendUint32(nil, kind)
	b = o.AppendUint32(b, uint32(12+len(body)))
	b = append(b, body...)
	return o.AppendUint32(b, uint32(12+len(body)))
}

func ngSection(o fileOrder) []byte {
	b := o.AppendUint32(nil, sectionMagic)
	b = o.AppendUint16(b, 1)
	b = o.AppendUint16(b, 0)
	return ngBlock(o, blockSection, o.AppendUint64(b, math.MaxUint64))
}

func ngOption(o fileOrder, code uint16, value ...byte) []byte {
	b := o.AppendUint16(nil, code)
	b = o.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func ngIface(o fileOrder, link uint16, snaplen uint32, options ...[]byte) []byte {
	b := o.AppendUint16(nil, link)
	b = o.AppendUint16(b, 0)
	b = o.AppendUint32(b, snaplen)
	return ngBlock(o, blockInterface, append(b, bytes.Join(options, nil)...))
}

func ngPacketBody(o fileOrder, id []byte, ticks uint64, data string, wire uint32, options ...[]byte) []byte {
	b := o.AppendUint32(id, uint32(ticks>>32))
	b = o.AppendUint32(b, uint32(ticks))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, wire)
	b = append(b, data...)
	if len(options) == 0 {
		return b
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return append(b, bytes.Join(options, nil)...)
}

func ngPacket(o fileOrder, id uint32, ticks uint64, data string, wire uint32, options ...[]byte) []byte {
	return ngBlock(o, blockEnhanced, ngPacketBody(o, o.AppendUint32(nil, id), ticks, data, wire, options...))
}

func ngObsolete(o fileOrder, id uint16, ticks uint64, data string, wire uint32, options ...[]byte) []byte {
	b := o.AppendUint16(nil, id)
	b = o.AppendUint16(b, 0xffff) // drops: not known
	return ngBlock(o, blockObsolete, ngPacketBody(o, b, ticks, data, wire, options...))
}

func ngSimple(o fileOrder, wire uint32, data string) []byte {
	return ngBlock(o, blockSimple, append(o.AppendUint32(nil, wire), data...))
}

// ngFile is a pcapng file of three packets; its parts end where a file may end.
func ngFile() [][]byte {
	o := binary.LittleEndian
	return [][]byte{
		ngSection(o),
		ngIface(o, 1, 65535),
		ngPacket(o, 0, 1_000_002, "first", 5),
		ngPacket(o, 0, 1_000_003, "the second", 1500),
		ngSimple(o, 0, ""),
	}
}

// ngVariety is a section with one of everything.
func ngVariety(o fileOrder) []byte {
	return bytes.Join([][]byte{
		ngSection(o),
		ngIface(o, 276, 8, ngOption(o, 2, 'e', 't', 'h', '0', '1'), ngOption(o, optTsresol, 9), ngOption(o, 0)),
		ngBlock(o, 4, []byte("names")),              // Name Resolution Block
		ngBlock(o, 5, make([]byte, 12)),             // Interface Statistics Block
		ngBlock(o, 10, []byte("secrets")),           // Decryption Secrets Block
		ngBlock(o, 0xbad, []byte("custom")),         // Custom Block
		ngBlock(o, 0x40000bad, []byte("no copy")),   // Custom Block not to be copied
		ngBlock(o, 0x80000001, []byte("of others")), // local use
		ngIface(o, 101, 0, ngOption(o, optTsresol, 0x80|10), ngOption(o, optTsoffset, o.AppendUint64(nil, 100)...)),
		ngPacket(o, 0, 1_700_000_000_123_456_789, "nano", 60, ngOption(o, 1, []byte("comment")...), ngOption(o, optFlags, o.AppendUint32(nil, 2)...), ngOption(o, 0)),
		ngPacket(o, 1, 5<<10|512, "binary", 6),
		ngSimple(o, 1514, "simple!!"),
		ngObsolete(o, 1, 1<<10, "obsolete", 9, ngOption(o, optFlags, o.AppendUint32(nil, 1)...)),
	}, nil)
}

func TestPcapngOfManySectionsAndInterfaces(t *testing.T) {
	var file []byte
	for _, o := range []fileOrder{binary.BigEndian, binary.LittleEndian, binary.BigEndian} {
		file = append(file, ngVariety(o)...)
	}
	want := []decode.Frame{
		{Time: 1_700_000_000_123_456_789, Link: 276, Dir: decode.DirOutbound, Wire: 60, Data: []byte("nano")},
		{Time: 105_500_000_000, Link: 101, Iface: 1, Wire: 6, Data: []byte("binary")},
		{Time: 105_500_000_000, Link: 276, Wire: 1514, Data: []byte("simple!!")},
		{Time: 101_000_000_000, Link: 101, Iface: 1, Dir: decode.DirInbound, Wire: 9, Data: []byte("obsolete")},
	}
	want = append(append(want, want...), want...)
	got, err := fileRead(t, bytes.NewReader(file))
	if d := cmp.Diff(want, got); d != "" || err != io.EOF {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestPcapngSectionForgetsTheInterfacesBeforeIt(t *testing.T) {
	o := binary.LittleEndian
	file := bytes.Join([][]byte{ngSection(o), ngIface(o, 1, 0), ngIface(o, 1, 0), ngSection(o), ngIface(o, 1, 0), ngPacket(o, 1, 0, "", 0)}, nil)
	_, err := fileRead(t, bytes.NewReader(file))
	if !errors.Is(err, ErrFormat) || err.Error() != "read x.pcap: damaged at byte 116, after 0 frames: a packet of interface 1, of 1" {
		t.Error(err)
	}
}

func TestPcapngResolutions(t *testing.T) {
	const year = 1 << 25 // seconds, about
	pow := func(base float64, n int) uint64 { return uint64(math.Pow(base, float64(n))) }
	type test struct {
		resol  uint8
		ticks  uint64
		offset int64
		time   int64
		bad    bool
	}
	tests := []test{
		{resol: 0, ticks: 1_700_000_000, time: 1_700_000_000e9}, // seconds
		{resol: 0x80, ticks: 1_700_000_000, time: 1_700_000_000e9},
		{resol: 3, ticks: 1_700_000_000_123, time: 1_700_000_000_123e6},
		{resol: 6, ticks: 1_700_000_000_123_456, time: 1_700_000_000_123_456e3},
		{resol: 9, ticks: 1_700_000_000_123_456_789, time: 1_700_000_000_123_456_789},
		{resol: 10, ticks: 17_000_000_001_234_567_899, time: 1_700_000_000_123_456_789},
		{resol: 19, ticks: 17_999_999_999_999_999_999, time: 1_799_999_999},
		{resol: 0x80 | 20, ticks: 1_700_000_000<<20 | 1<<19, time: 1_700_000_000_500_000_000},
		{resol: 0x80 | 32, ticks: 1_700_000_000<<32 | 1<<30, time: 1_700_000_000_250_000_000},
		{resol: 0x80 | 63, ticks: 1<<63 | 1<<62, time: 1_500_000_000},
		{resol: 6, ticks: 5, offset: 1_700_000_000, time: 1_700_000_000_000_005_000},
		{resol: 6, ticks: 2e6, offset: -1, time: 1e9},
		{resol: 6, ticks: 0, offset: -year, time: -year * 1e9}, // before 1970
		// What no Timestamp holds, and exponents that no clock has.
		{resol: 0, ticks: math.MaxUint64, bad: true},
		{resol: 0, ticks: 9_223_372_037, bad: true},
		{resol: 9, ticks: 1 << 63, bad: true},
		{resol: 9, ticks: math.MaxInt64, time: math.MaxInt64},
		{resol: 9, ticks: math.MaxInt64, offset: 1, bad: true},
		{resol: 6, offset: math.MaxInt64, bad: true},
		{resol: 6, offset: math.MinInt64, bad: true},
		{resol: 20, ticks: 1, bad: true},
		{resol: 64, ticks: 1, bad: true},
		{resol: 127, ticks: math.MaxUint64, bad: true},
		{resol: 0x80 | 64, ticks: 1, bad: true},
		{resol: 0xff, ticks: math.MaxUint64, bad: true},
	}
	for n := range 16 { // 3 s in each
		tests = append(tests, test{resol: uint8(n), ticks: 3 * pow(10, n), time: 3e9})
	}
	for n := range 62 {
		tests = append(tests, test{resol: 0x80 | uint8(n), ticks: 3 * pow(2, n), time: 3e9})
	}
	for _, o := range fileOrders {
		for _, test := range tests {
			file := bytes.Join([][]byte{
				ngSection(o),
				ngIface(o, 1, 0), // microseconds
				ngIface(o, 1, 0, ngOption(o, optTsresol, test.resol), ngOption(o, optTsoffset, o.AppendUint64(nil, uint64(test.offset))...)),
				ngPacket(o, 0, 42, "", 0),
				ngPacket(o, 1, test.ticks, "", 0),
			}, nil)
			f, _ := NewReader(bytes.NewReader(file), "x", nil)
			got, err := fileReadAll(t, f)
			if err != io.EOF || len(got) != 2 {
				t.Errorf("%+v: %v", test, err)
				continue
			}
			want := Stats{Frames: 2, Received: 2}
			if test.bad {
				test.time, want.BadStamps = 42_000, 1 // the frame's before it
			}
			if got[1].Time != decode.Timestamp(test.time) || f.stats != want {
				t.Errorf("%+v: %d, %+v", test, got[1].Time, f.stats)
			}
		}
	}
}

func TestPcapngFlags(t *testing.T) {
	o := binary.LittleEndian
	for flags, want := range map[uint32]decode.Frame{
		0:             {},
		1:             {Dir: decode.DirInbound},
		2:             {Dir: decode.DirOutbound},
		3:             {},
		1 | 1<<2:      {Dir: decode.DirInbound}, // unicast
		1 | 3<<2:      {Dir: decode.DirInbound}, // broadcast
		1 | 4<<2:      {Dir: decode.DirOther},   // promiscuous
		2 | 1<<9:      {Dir: decode.DirOutbound, Checksums: decode.ChecksumsPartial},
		1 | 1<<10:     {Dir: decode.DirInbound, Checksums: decode.ChecksumsComplete},
		3<<9 | 1<<11:  {Checksums: decode.ChecksumsPartial},
		4<<5 | 1<<24:  {}, // frame check sequence of 4 bytes, and wrong
		math.MaxInt32: {Checksums: decode.ChecksumsPartial},
	} {
		file := bytes.Join([][]byte{ngSection(o), ngIface(o, 1, 0), ngPacket(o, 0, 0, "", 0, ngOption(o, optFlags, o.AppendUint32(nil, flags)...))}, nil)
		want.Link = 1
		got, err := fileRead(t, bytes.NewReader(file))
		if d := cmp.Diff([]decode.Frame{want}, got); d != "" || err != io.EOF {
			t.Errorf("%#x: %v\n%s", flags, err, d)
		}
	}
}

func TestPcapngSimplePacketIsCutToTheFirstInterfacesSnaplen(t *testing.T) {
	o := binary.LittleEndian
	for _, test := range []struct {
		snaplen, wire uint32
		want          string
	}{{0, 5, "abcde"}, {3, 5, "abc"}, {100, 6, "abcdef"}} {
		file := bytes.Join([][]byte{ngSection(o), ngIface(o, 1, test.snaplen), ngIface(o, 101, 1), ngSimple(o, test.wire, "abcdef")}, nil)
		got, err := fileRead(t, bytes.NewReader(file))
		want := []decode.Frame{{Link: 1, Wire: int(test.wire), Data: []byte(test.want)}}
		if d := cmp.Diff(want, got); d != "" || err != io.EOF {
			t.Errorf("%+v: %v\n%s", test, err, d)
		}
	}
}

func TestPcapngDamageNamesItsPlace(t *testing.T) {
	o := binary.LittleEndian
	patch := func(b []byte, at int, v uint32) []byte {
		if at < 0 {
			at += len(b)
		}
		o.PutUint32(b[at:], v)
		return b
	}
	body := func(n int) []byte { return make([]byte, n) }
	for _, test := range []struct {
		name, want string
		block      []byte
	}{
		{"short", "a block of 8 bytes", patch(ngBlock(o, 77, body(8)), 4, 8)},
		{"zero", "a block of 0 bytes", patch(ngBlock(o, 77, body(8)), 4, 0)},
		{"odd", "a block of 21 bytes", patch(ngBlock(o, 77, body(8)), 4, 21)},
		{"huge", "a block of 1073741824 bytes", patch(ngBlock(o, 77, body(8)), 4, 1<<30)},
		{"mismatch", "a block of 20 bytes ends as one of 24", patch(ngBlock(o, 77, body(8)), -4, 24)},
		{"section", "a section without byte-order magic", patch(ngSection(o), 8, 0)},
		{"section version", "pcapng version 2.0 is not known (1.0 is)", patch(ngSection(o), 12, 2)},
		{"short section", "a section header of 16 bytes", ngBlock(o, blockSection, o.AppendUint32(nil, sectionMagic))},
		{"short interface", "an interface block of 16 bytes", ngBlock(o, blockInterface, body(4))},
		{"short packet", "a packet block of 28 bytes", ngBlock(o, blockEnhanced, body(16))},
		{"long packet", "a packet of 9 bytes in a block of 40", patch(ngPacket(o, 0, 0, "12345678", 8), 20, 9)},
		{"endless packet", "a packet of 4294967295 bytes in a block of 40", patch(ngPacket(o, 0, 0, "12345678", 8), 20, math.MaxUint32)},
		{"interface", "a packet of interface 1, of 1", ngPacket(o, 1, 0, "", 0)},
		{"largest interface", "a packet of interface 4294967295, of 1", ngPacket(o, math.MaxUint32, 0, "", 0)},
		{"short simple", "a packet block of 12 bytes", ngBlock(o, blockSimple, nil)},
		{"long simple", "a packet of 9 bytes in a block of 24", ngSimple(o, 9, "12345678")},
	} {
		file := bytes.Join([][]byte{ngSection(o), ngIface(o, 1, 0), ngPacket(o, 0, 0, "", 0), test.block, body(64)}, nil)
		got, err := fileRead(t, bytes.NewReader(file))
		want := "read x.pcap: damaged at byte 80, after 1 frames: " + test.want
		if len(got) != 1 || !errors.Is(err, ErrFormat) || err.Error() != want {
			t.Errorf("%s: %d frames\n got %v\nwant %s", test.name, len(got), err, want)
		}
		_, err = fileRead(t, bytes.NewReader(fileGzip(t, file)))
		if want := strings.Replace(want, "80,", "80 of the decompressed data,", 1); err.Error() != want {
			t.Errorf("%s, gzip: %v", test.name, err)
		}
	}
	file := append(ngSection(o), ngSimple(o, 0, "")...)
	if _, err := fileRead(t, bytes.NewReader(file)); !errors.Is(err, ErrFormat) || !strings.HasSuffix(err.Error(), "a packet before any interface") {
		t.Error(err)
	}
}

func TestPcapngDamagedOptionsAreLeftOut(t *testing.T) {
	o := binary.LittleEndian
	for _, options := range []string{"\x02\x00", "\x02\x00\x04", "\x02\x00\xff\xff\x01\x00\x00\x00", "\x02\x00\x02\x00\x01\x00\x00\x00", "\x00\x00\x00\x00\x02\x00\x04\x00\x01\x00\x00\x00"} {
		file := bytes.Join([][]byte{
			ngSection(o), ngIface(o, 1, 0, []byte(options)), ngIface(o, 1, 0, ngOption(o, optTsresol, 1, 2)), ngPacket(o, 1, 7, "data", 4, []byte(options)),
		}, nil)
		got, err := fileRead(t, bytes.NewReader(file))
		want := []decode.Frame{{Time: 7000, Link: 1, Iface: 1, Wire: 4, Data: []byte("data")}}
		if d := cmp.Diff(want, got); d != "" || err != io.EOF {
			t.Errorf("%q: %v\n%s", options, err, d)
		}
	}
}

func TestPcapngInterfacesAreBounded(t *testing.T) {
	o := binary.LittleEndian
	file := append(ngSection(o), bytes.Repeat(ngIface(o, 1, 0), maxIfaces+1)...)
	_, err := fileRead(t, bytes.NewReader(file))
	if !errors.Is(err, ErrFormat) || !strings.HasSuffix(err.Error(), fmt.Sprintf("more than %d interfaces", maxIfaces)) {
		t.Error(err)
	}
}

// ngLarge is fileLarge as pcapng.
func ngLarge(n int) []byte {
	o := binary.LittleEndian
	b := append(ngSection(o), ngIface(o, 1, 262144)...)
	flags := ngOption(o, optFlags, 1, 0, 0, 0)
	for i := range n {
		b = append(b, ngPacket(o, 0, uint64(i), strings.Repeat("x", 54+i%100), 1514, flags)...)
	}
	return b
}
