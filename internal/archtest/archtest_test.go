// Package archtest holds the rules of the module's architecture, as one test.
package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file is one Go file of the module, whatever system it is for.
type file struct {
	pkg    string // directory below the module's root
	name   string
	syntax *ast.File
	uses   map[*ast.Ident]types.Object // of a file that is no test: what its identifiers mean
}

func (f *file) test() bool { return strings.HasSuffix(f.name, "_test.go") }

// parse reads the files of a module, given by their paths below its root.
// Identifiers are resolved within each package: imports are not followed.
func parse(sources map[string]string) (*token.FileSet, []*file, error) {
	type unit struct{ dir, name string } // a generator's package main may lie beside the package
	var (
		fset  = token.NewFileSet()
		files []*file
		units = map[unit][]*ast.File{}
		uses  = map[unit]map[*ast.Ident]types.Object{}
	)
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		syntax, err := parser.ParseFile(fset, name, sources[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}
		f := &file{pkg: path.Dir(name), name: path.Base(name), syntax: syntax}
		files = append(files, f)
		if f.test() {
			continue
		}
		u := unit{f.pkg, syntax.Name.Name}
		units[u] = append(units[u], syntax)
		if uses[u] == nil {
			uses[u] = map[*ast.Ident]types.Object{}
		}
		f.uses = uses[u]
	}
	for u, syntax := range units {
		// The errors are of no interest: a type of another package is unknown,
		// and the files for two systems declare the same names.
		conf := types.Config{Error: func(error) {}, FakeImportC: true}
		_, _ = conf.Check(u.dir, fset, syntax, &types.Info{Uses: uses[u]})
	}
	return fset, files, nil
}

// violations returns where files break r.
func violations(r rule, fset *token.FileSet, files []*file) []string {
	var found []string
	for _, f := range files {
		if !f.test() || r.tests {
			r.check(f, func(at ast.Node, what string) {
				found = append(found, fmt.Sprintf("%v: %s", fset.Position(at.Pos()), what))
			})
		}
	}
	return found
}

// readModule returns the Go files of the module that this package belongs to.
func readModule() (map[string]string, error) {
	root := filepath.Join("..", "..")
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(mod), "module "+module+"\n") {
		return nil, fmt.Errorf("%s is not the module's root", root)
	}
	sources := map[string]string{}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (name[0] == '.' || name[0] == '_' || name == "testdata") { // as the go command does
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		sources[filepath.ToSlash(rel)] = string(src)
		return err
	})
	return sources, err
}

func TestArchitecture(t *testing.T) {
	sources, err := readModule()
	if err != nil {
		t.Fatal(err)
	}
	fset, files, err := parse(sources)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, v := range violations(r, fset, files) {
				t.Errorf("%s\n\twhy not: %s", v, r.why)
			}
		})
	}
}

// TestRulesBite breaks each rule in small modules of its own, and comes close
// to it in others.
func TestRulesBite(t *testing.T) {
	bitten := map[string]bool{}
	for _, tt := range snippets {
		t.Run(cmp.Or(tt.rule, "none")+"/"+tt.name, func(t *testing.T) {
			fset, files, err := parse(tt.files)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rules {
				want := []string(nil)
				if r.name == tt.rule {
					want = tt.want
					bitten[r.name] = true
				}
				if got := violations(r, fset, files); !slices.Equal(got, want) {
					t.Errorf("rule %q reported\n\t%s\nwant\n\t%s", r.name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
				}
			}
		})
	}
	for _, r := range rules {
		if !bitten[r.name] {
			t.Errorf("no snippet breaks rule %q", r.name)
		}
	}
}
