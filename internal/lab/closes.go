package lab

// closes are the ways in which a connection ends.
func closes() []*Scenario {
	return []*Scenario{
		fourStepClientFirst(),
		lostFIN(),
	}
}
