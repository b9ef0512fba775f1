package where

import (
	"slices"
	"strings"
)

// Complete returns the expressions that text may become when its last word is
// completed: to a field, or to a value where values are words.
func Complete(text string) []string {
	p := parser{text: text}
	var before []string // the last word's
	for p.advance(); p.word != "" && (p.next < len(text) || strings.Contains(special, p.word[:1])); p.advance() {
		before = append(before, p.word)
	}
	var names []string
	n := len(before)
	switch {
	case n == 0 || startsTest(before[n-1]):
		for i := range fields {
			names = append(names, fields[i].name)
		}
	case n > 1 && slices.Contains(operators[equal:], before[n-1]):
		if f := find(before[n-2]); f != nil {
			names = f.wordList()
		}
	}
	var whole []string
	for _, name := range names {
		if strings.HasPrefix(fold(name), fold(p.word)) {
			whole = append(whole, text[:p.at]+name)
		}
	}
	return whole
}

// startsTest reports whether a test may follow a word.
func startsTest(word string) bool {
	switch strings.ToLower(word) {
	case "(", "!", "not", "&&", "and", "||", "or":
		return true
	}
	return false
}
