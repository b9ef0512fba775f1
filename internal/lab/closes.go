package lab

// closes are the ways in which a connection ends.
func closes() []*Scenario {
	return []*Scenario{
		fourStepClientFirst(),
		fourStepServerFirst(),
		threeStep(),
		finWithData(),
		halfClose(),
		crossingFINs(),
		crossingFINsOneLost(),
		lostFIN(),
		lostLastACK(),
		orphanFinWait2(),
		rstUnreadData(),
		rstLinger0(),
		rstWriteToClosed(),
		rstToNothing(),
		lostRST(),
	}
}
