package lab

// oddities are segments that are none of the opening, the data or the close.
func oddities() []*Scenario {
	return []*Scenario{
		resetOutOfWindow(),
		challengeACK(),
		wrongChecksum(),
		lostData(),
		reorderedData(),
	}
}
