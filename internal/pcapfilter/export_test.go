package pcapfilter

// For the tests that need other packages, which import this one.

// Frame is a frame of any link type.
type Frame = frame

// NewFrame returns a frame that has wire bytes, of which data was captured.
func NewFrame(name string, data []byte, wire int) Frame { return frame{name, data, wire} }

// Data returns a frame's bytes.
func (f frame) Data() []byte { return f.data }

// Name returns a frame's name.
func (f frame) Name() string { return f.name }

var (
	CompareWithTcpdump = compareWithTcpdump
	CraftedFrames      = craftedFrames
	Expressions        = expressions
	NeedTcpdump        = needTcpdump
)
