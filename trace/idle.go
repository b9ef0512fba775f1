package trace

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"finack/decode"
)

// What makes an idle timeout: closes by one side, at one server endpoint, that
// came nearly the same time after the last data.
const (
	minIdle   = 500 * time.Millisecond // less is how long a service takes, no timeout
	minCloses = 10                     // so many of them,
	minShare  = 0.2                    // and so much of all closes by that side there

	// The standard deviation, relative to the mean, where all closes are alike;
	// half of it where half of them are: some of those that come at random are
	// always close together.
	maxSpread = 0.05
)

// Whatever a capture holds, it takes no more than about 20 MB.
const (
	maxClosers  = 1 << 16 // servers, and clients of one server
	maxIdleBins = 1 << 17 // of all of them together
)

// Bins are 1/32 of an octave of seconds, 1.6 to 3.1 % wide; the last one has
// also what is longer than 36 hours.
const (
	binsPerOctave = 32
	idleOctaves   = 18
	lastIdleBin   = binsPerOctave*idleOctaves - 1
)

// IdleTimeout is a time after the last data at which one side closes
// connections, as far as a capture tells.
type IdleTimeout struct {
	Server decode.Endpoint
	By     Side          // who closes: the server, or its clients
	N      int           // closes that came Idle ± Spread after the last data
	Of     int           // closes by that side at that server, of connections that had data
	Idle   time.Duration // their mean, to the microsecond
	Spread time.Duration // their standard deviation, likewise
}

// idles collects when, after the last data, connections were closed.
type idles struct {
	closes map[closer]*closes
	bins   int // of all of them
}

// closer is a server, or all clients of one.
type closer struct {
	server decode.Endpoint
	by     Side
}

// closes are those by one closer.
type closes struct {
	n    int
	bins []idleBin // those of at least minIdle, in ascending order
}

type idleBin struct {
	at int32
	moments
}

// moments are what mean and spread of values, in seconds, are made of.
type moments struct {
	n, mean float64
	dev     float64 // sum of the squares of the distances to the mean
}

// merge adds o's values to m's.
func (m *moments) merge(o moments) {
	n := m.n + o.n
	d := o.mean - m.mean
	m.mean += d * o.n / n
	m.dev += o.dev + d*d*m.n*o.n/n
	m.n = n
}

func (m *moments) spread() float64 { return math.Sqrt(m.dev / m.n) }

// add counts a close and reports whether there was room for it.
func (x *idles) add(by closer, idle time.Duration) bool {
	c := x.of(by)
	if c == nil {
		return false
	}
	c.n++
	if idle < minIdle {
		return true
	}
	sec := idle.Seconds()
	return x.put(c, idleBinOf(sec), moments{n: 1, mean: sec})
}

// of returns the closes by one closer, nil if there is no room for one more.
func (x *idles) of(by closer) *closes {
	c := x.closes[by]
	if c == nil && len(x.closes) < maxClosers {
		if x.closes == nil {
			x.closes = map[closer]*closes{}
		}
		c = &closes{}
		x.closes[by] = c
	}
	return c
}

// put adds m to one of c's bins and reports whether there was room.
func (x *idles) put(c *closes, at int32, m moments) bool {
	i, ok := slices.BinarySearchFunc(c.bins, at, func(b idleBin, at int32) int { return cmp.Compare(b.at, at) })
	if !ok {
		if x.bins >= maxIdleBins {
			return false
		}
		x.bins++
		c.bins = slices.Insert(c.bins, i, idleBin{at: at})
	}
	c.bins[i].merge(m)
	return true
}

// idleBinOf returns the bin of a number of seconds, at least minIdle: its
// exponent and the first bits of its fraction, as they lie in a float64.
func idleBinOf(seconds float64) int32 {
	const drop = 52 - 5 // bits of the fraction; 1<<5 is binsPerOctave
	at := math.Float64bits(seconds)>>drop - math.Float64bits(minIdle.Seconds())>>drop
	return int32(min(at, lastIdleBin))
}

// merge adds what from has and returns how many closes there was no room for.
func (x *idles) merge(from *idles) (leftOut int) {
	// In order, so that what there is no room for is the same each time.
	for _, by := range slices.SortedFunc(maps.Keys(from.closes), closer.compare) {
		more := from.closes[by]
		c := x.of(by)
		if c == nil {
			leftOut += more.n
			continue
		}
		c.n += more.n
		for _, b := range more.bins {
			if !x.put(c, b.at, b.moments) {
				leftOut += int(b.n)
			}
		}
	}
	return leftOut
}

func (k closer) compare(o closer) int {
	return cmp.Or(k.server.AddrPort().Compare(o.server.AddrPort()), cmp.Compare(k.by, o.by))
}

// timeouts returns the idle timeouts of all closers, those with the most
// closes first.
func (x *idles) timeouts() []IdleTimeout {
	var found []IdleTimeout
	for by, c := range x.closes {
		for _, m := range c.peaks() {
			found = append(found, IdleTimeout{
				Server: by.server, By: by.by, N: int(m.n), Of: c.n,
				Idle: microseconds(m.mean), Spread: microseconds(m.spread()),
			})
		}
	}
	slices.SortFunc(found, func(a, b IdleTimeout) int {
		return cmp.Or(cmp.Compare(b.N, a.N), closer{a.Server, a.By}.compare(closer{b.Server, b.By}), cmp.Compare(a.Idle, b.Idle))
	})
	return found
}

// microseconds rounds off what depends on the order in which values came.
func microseconds(s float64) time.Duration {
	return time.Duration(math.Round(s*1e6)) * time.Microsecond
}

// peaks returns the groups of bins that are idle timeouts. From the largest
// bin on, each takes its neighbours: closes at random fill bin after bin and
// become one group, which is too wide.
func (c *closes) peaks() (found []moments) {
	need := max(minCloses, minShare*float64(c.n))
	var left float64 // closes in bins that are in no group yet
	for i := range c.bins {
		left += c.bins[i].n
	}
	taken := make([]bool, len(c.bins))
	for left >= need {
		top := -1
		for i := range c.bins {
			if !taken[i] && (top < 0 || c.bins[i].n > c.bins[top].n) {
				top = i
			}
		}
		m, slope := c.group(top, taken)
		left -= m.n
		if !slope && m.n >= need && m.spread()/m.mean <= maxSpread*m.n/float64(c.n) {
			found = append(found, m)
		}
	}
	return found
}

// group takes bin top and the bins about it that belong to it and are not
// taken. It is a slope, no peak, if it ends at a taken bin that would belong.
func (c *closes) group(top int, taken []bool) (m moments, slope bool) {
	m, taken[top] = c.bins[top].moments, true
	ends := [2]int{top, top}
	grow := func(belongs func(b *idleBin) bool) {
		for i, step := range [2]int{-1, 1} {
			for next := ends[i] + step; next >= 0 && next < len(c.bins); next += step {
				b := &c.bins[next]
				if b.at != c.bins[ends[i]].at+int32(step) || !belongs(b) {
					break
				}
				if taken[next] {
					slope = true
					break
				}
				m.merge(b.moments)
				taken[next], ends[i] = true, next
			}
		}
	}
	grow(func(b *idleBin) bool { return 4*b.n >= c.bins[top].n })
	// What is low may still be the peak's skirt. Noise beside it is further off.
	mean, near := m.mean, 3*max(m.spread(), m.mean/100)
	grow(func(b *idleBin) bool { return math.Abs(b.mean-mean) <= near })
	return m, slope
}
