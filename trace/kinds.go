package trace

// Kinds is a set of kinds of event.
type Kinds uint8

// AllKinds are all of them.
const AllKinds = Kinds(1<<(ConnReleased+1) - 1)

// KindsOf returns the set of kinds.
func KindsOf(kinds ...Kind) Kinds {
	var s Kinds
	for _, k := range kinds {
		s |= 1 << k
	}
	return s
}

// Has reports whether kind is in the set.
func (s Kinds) Has(kind Kind) bool { return s&(1<<kind) != 0 }
