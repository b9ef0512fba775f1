package lab

// production are the cases in which connections pile up.
func production() []*Scenario {
	return []*Scenario{
		closeWaitLeak(), closeWaitCure(),
		timeWaitPileUp(), timeWaitReuse(), portExhaustion(),
		idleReaper(), keepAlive(), zeroWindow(),
	}
}
