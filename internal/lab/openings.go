package lab

// openings are the ways in which a connection begins, or does not.
func openings() []*Scenario {
	return []*Scenario{
		threeWay(),
		refused(),
		lostSYN(),
		lostSYNACK(),
		lostFinalACK(),
		unansweredSYN(),
		fastOpen(),
		simultaneousOpen(),
		backlogOverflow(),
		synCookies(),
		selfConnect(),
	}
}
