package pcapfilter

// isKeyword reports whether s is a reserved word of pcap-filter(7), also one
// that is not supported here: a name is none of these.
func isKeyword(s string) bool {
	switch s {
	case "dst", "src", "link", "ether", "ppp", "slip", "fddi", "tr", "wlan",
		"arp", "rarp", "ip", "sctp", "tcp", "udp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp", "radio",
		"ip6", "icmp6", "ah", "esp",
		"atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl",
		"iso", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "clnp",
		"stp", "ipx", "netbeui",
		"host", "net", "mask", "port", "portrange", "proto", "protochain", "gateway",
		"type", "subtype", "direction", "dir", "address1", "addr1", "address2", "addr2",
		"address3", "addr3", "address4", "addr4", "ra", "ta",
		"less", "greater", "byte", "broadcast", "multicast",
		"and", "or", "not", "len", "length", "inbound", "outbound", "ifindex",
		"vlan", "mpls", "pppoed", "pppoes", "geneve",
		"lane", "llc", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc", "sc", "ilmic",
		"vpi", "vci", "connectmsg", "metaconnect",
		"on", "ifname", "rset", "ruleset", "rnr", "rulenum", "srnr", "subrulenum", "reason", "action",
		"fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu",
		"sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls":
		return true
	}
	return false
}

// constant returns the value of a name that stands for a number.
func constant(s string) (uint32, bool) {
	switch s {
	case "tcpflags":
		return 13, true // offset of the control bits, RFC 9293 section 3.1
	case "tcp-fin":
		return 0x01, true
	case "tcp-syn":
		return 0x02, true
	case "tcp-rst":
		return 0x04, true
	case "tcp-push":
		return 0x08, true
	case "tcp-ack":
		return 0x10, true
	case "tcp-urg":
		return 0x20, true
	case "tcp-ece":
		return 0x40, true
	case "tcp-cwr":
		return 0x80, true

	case "icmptype", "icmp6type":
		return 0, true
	case "icmpcode", "icmp6code":
		return 1, true
	case "icmp-echoreply":
		return 0, true
	case "icmp-unreach":
		return 3, true
	case "icmp-sourcequench":
		return 4, true
	case "icmp-redirect":
		return 5, true
	case "icmp-echo":
		return 8, true
	case "icmp-routeradvert":
		return 9, true
	case "icmp-routersolicit":
		return 10, true
	case "icmp-timxceed":
		return 11, true
	case "icmp-paramprob":
		return 12, true
	case "icmp-tstamp":
		return 13, true
	case "icmp-tstampreply":
		return 14, true
	case "icmp-ireq":
		return 15, true
	case "icmp-ireqreply":
		return 16, true
	case "icmp-maskreq":
		return 17, true
	case "icmp-maskreply":
		return 18, true

	case "icmp6-destinationunreach":
		return 1, true
	case "icmp6-packettoobig":
		return 2, true
	case "icmp6-timeexceeded":
		return 3, true
	case "icmp6-parameterproblem":
		return 4, true
	case "icmp6-echo":
		return 128, true
	case "icmp6-echoreply":
		return 129, true
	case "icmp6-multicastlistenerquery":
		return 130, true
	case "icmp6-multicastlistenerreportv1":
		return 131, true
	case "icmp6-multicastlistenerdone":
		return 132, true
	case "icmp6-routersolicit":
		return 133, true
	case "icmp6-routeradvert":
		return 134, true
	case "icmp6-neighborsolicit":
		return 135, true
	case "icmp6-neighboradvert":
		return 136, true
	case "icmp6-redirect":
		return 137, true
	case "icmp6-routerrenum":
		return 138, true
	case "icmp6-nodeinformationquery":
		return 139, true
	case "icmp6-nodeinformationresponse":
		return 140, true
	case "icmp6-ineighbordiscoverysolicit":
		return 141, true
	case "icmp6-ineighbordiscoveryadvert":
		return 142, true
	case "icmp6-multicastlistenerreportv2":
		return 143, true
	case "icmp6-homeagentdiscoveryrequest":
		return 144, true
	case "icmp6-homeagentdiscoveryreply":
		return 145, true
	case "icmp6-mobileprefixsolicit":
		return 146, true
	case "icmp6-mobileprefixadvert":
		return 147, true
	case "icmp6-certpathsolicit":
		return 148, true
	case "icmp6-certpathadvert":
		return 149, true
	case "icmp6-multicastrouteradvert":
		return 151, true
	case "icmp6-multicastroutersolicit":
		return 152, true
	case "icmp6-multicastrouterterm":
		return 153, true
	}
	return 0, false
}

// EtherTypes, IEEE 802 numbers.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd

	etherNS        = 0x0600
	etherDECnet    = 0x6003
	etherIPX       = 0x8137
	etherAARP      = 0x80f3
	etherAppleTalk = 0x809b
)

// IP protocol numbers.
const (
	protoICMP   = 1
	protoIGMP   = 2
	protoTCP    = 6
	protoIGRP   = 9
	protoUDP    = 17
	protoIPv6Fr = 44
	protoESP    = 50
	protoAH     = 51
	protoICMPv6 = 58
	protoPIM    = 103
	protoVRRP   = 112
	protoSCTP   = 132
)

// family says in which network protocol something is looked for.
type family uint8

const (
	famNone family = iota // not in IP: a link protocol
	famIPv4
	famIPv6
	famBoth
)

// protocol is what a protocol keyword stands for: a protocol of the link
// (fam is famNone) or one inside IP.
type protocol struct {
	tok token
	fam family
	num uint32
}

// lookupProtocol returns the meaning of a protocol keyword; ether has none by
// itself, and OSI's are lookupOSI's.
func lookupProtocol(keyword string) (protocol, bool) {
	is := func(fam family, num uint32) (protocol, bool) { return protocol{fam: fam, num: num}, true }
	switch keyword {
	case "ip":
		return is(famNone, etherIPv4)
	case "ip6":
		return is(famNone, etherIPv6)
	case "arp":
		return is(famNone, etherARP)
	case "rarp":
		return is(famNone, etherRARP)
	case "decnet":
		return is(famNone, etherDECnet)
	case "lat":
		return is(famNone, 0x6004)
	case "sca":
		return is(famNone, 0x6007)
	case "moprc":
		return is(famNone, 0x6002)
	case "mopdl":
		return is(famNone, 0x6001)
	case "stp":
		return is(famNone, sapSTP)
	case "netbeui":
		return is(famNone, sapNetBEUI)
	case "ipx":
		return is(famNone, sapIPX)
	case "iso":
		return is(famNone, sapISO)
	case "atalk":
		return is(famNone, etherAppleTalk)
	case "aarp":
		return is(famNone, etherAARP)
	case "tcp":
		return is(famBoth, protoTCP)
	case "udp":
		return is(famBoth, protoUDP)
	case "sctp":
		return is(famBoth, protoSCTP)
	case "ah":
		return is(famBoth, protoAH)
	case "esp":
		return is(famBoth, protoESP)
	case "pim":
		return is(famBoth, protoPIM)
	case "icmp":
		return is(famIPv4, protoICMP)
	case "igmp":
		return is(famIPv4, protoIGMP)
	case "igrp":
		return is(famIPv4, protoIGRP)
	case "vrrp", "carp":
		return is(famIPv4, protoVRRP)
	case "icmp6":
		return is(famIPv6, protoICMPv6)
	}
	return protocol{}, false
}

// isProtocolKeyword reports whether s is a protocol qualifier of the language.
func isProtocolKeyword(s string) bool {
	if s == "ether" || s == "radio" {
		return true
	}
	if _, ok := lookupOSI(token{text: s}); ok {
		return true
	}
	_, ok := lookupProtocol(s)
	return ok
}

// refused returns why a keyword of the language is not supported, "" if it is.
func refused(keyword string) string {
	switch keyword {
	case "gateway":
		return "not supported: it needs a host name, and names are not resolved"
	case "ifname", "on":
		return "not supported: only pf's log files have it; ifindex takes an interface's number"
	case "rset", "ruleset", "rnr", "rulenum", "srnr", "subrulenum", "reason", "action":
		return "not supported: only pf's log files have it"
	case "type", "subtype", "direction", "dir", "address1", "addr1", "address2", "addr2",
		"address3", "addr3", "address4", "addr4", "ra", "ta", "radio":
		return "not supported: only IEEE 802.11 frames have it"
	case "lane", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc", "sc", "ilmic",
		"vpi", "vci", "connectmsg", "metaconnect":
		return "not supported: only ATM has it"
	case "fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu",
		"sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls":
		return "not supported: only SS7 has it"
	}
	return ""
}

// linkProtoNumber returns the EtherType or LLC SAP of a name.
func linkProtoNumber(name string) (uint32, bool) {
	if name == "loopback" {
		return 0x9000, true
	}
	p, ok := lookupProtocol(name)
	return p.num, ok && p.fam == famNone
}

// osiProtoNumber returns the number of a protocol of OSI's.
func osiProtoNumber(name string) (uint32, bool) {
	switch name {
	case "clnp", "esis", "isis":
		p, ok := lookupOSI(token{text: name})
		return p.proto, ok
	}
	return 0, false
}
