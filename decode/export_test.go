package decode

// Common and General are Decode's two ways, for tests outside the package.
func (d *Decoder) Common(f *Frame, p *Packet) bool   { return d.common(f, p) }
func (d *Decoder) General(f *Frame, p *Packet) error { return d.general(f, p) }
