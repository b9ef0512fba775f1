package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// arrows is the one direction of imports: a package and the packages of this
// module that its code may import, "*" for all but tracetest.
var arrows = map[string][]string{
	"cmd/finack":          {"*"},
	"tracetest":           {"capture", "decode", "raw", "trace", "internal/fixture", "internal/pipeline", "internal/privnet", "internal/render"}, // raw: marks how far a capture has come
	"internal/lab":        {"capture", "decode", "raw", "trace", "internal/byhand", "internal/craft", "internal/echo", "internal/fixture", "internal/kernel", "internal/pipeline", "internal/privnet", "internal/render", "internal/sockview"},
	"internal/fixture":    {"capture", "decode", "trace", "internal/craft", "internal/notation"},
	"internal/pipeline":   {"capture", "decode", "trace", "internal/render"},
	"internal/render":     {"decode", "trace"},
	"internal/privnet":    {"capture", "decode", "internal/pcapfilter"},
	"capture":             {"decode", "raw", "internal/pcapfilter"},
	"trace":               {"decode"},
	"decode":              {},
	"raw":                 {},
	"internal/pcapfilter": {},
	"internal/where":      {"decode", "trace"},                                       // predicates on accounts, as pcapfilter's are on packets
	"internal/echo":       {"trace"},                                                 // its Distribution
	"internal/bench":      {"decode", "trace", "internal/craft", "internal/privnet"}, // the words for what its captures contain; live ones in a private network
	"internal/craft":      {"decode"},
	"internal/notation":   {"decode", "internal/craft"},
	"internal/byhand":     {"decode", "raw", "trace", "internal/craft"},                               // trace: the states' names
	"internal/kernel":     {"trace"},                                                                  // the states' names
	"internal/probe":      {"capture", "decode", "raw", "trace", "internal/craft", "internal/render"}, // sends crafted packets and pairs them with their answers
	"internal/sockview":   {"capture", "decode", "raw"},
}

// A rule finds what must not be in a file.
type rule struct {
	name  string
	why   string
	tests bool // tests must keep it too
	check func(f *file, report func(at ast.Node, what string))
}

const (
	module   = "finack"
	gopacket = "github.com/google/gopacket"
	sysUnix  = "golang.org/x/sys/unix"
)

var rules = []rule{
	{
		name: "imports follow the arrows",
		why: "bytes become frames, packets, events and text in one direction: a stage that knows a later one can no longer be " +
			"tested, fuzzed or replaced alone, and cmd with tracetest would link testing. " +
			"A new package needs a reason, and a new arrow too: write it into the table of arrows",
		check: func(f *file, report func(ast.Node, string)) {
			allowed, ok := arrows[f.pkg]
			if !ok {
				report(f.syntax.Name, "package "+f.pkg+" is not in the table of arrows")
				return
			}
			f.imports(func(spec *ast.ImportSpec, path string) {
				own, ok := strings.CutPrefix(path, module+"/")
				if !ok {
					return
				}
				all := slices.Contains(allowed, "*") && own != "tracetest"
				if !all && !slices.Contains(allowed, own) {
					report(spec, f.pkg+" imports "+own)
				}
			})
		},
	},
	{
		name: "gopacket stays in decode",
		why:  "its traps (8-bit link types, stale payloads, allocated errors) are fenced in at one place",
		check: func(f *file, report func(ast.Node, string)) {
			f.imports(func(spec *ast.ImportSpec, path string) {
				if f.pkg != "decode" && within(path, gopacket) {
					report(spec, f.pkg+" imports "+path)
				}
			})
		},
	},
	{
		name:  "never these parts of gopacket",
		why:   "afpacket and pcap need cgo; reassembly and tcpassembly register global flags when they are imported",
		tests: true,
		check: func(f *file, report func(ast.Node, string)) {
			f.imports(func(spec *ast.ImportSpec, path string) {
				for _, part := range []string{"afpacket", "pcap", "reassembly", "tcpassembly"} {
					if within(path, gopacket+"/"+part) {
						report(spec, "imports "+path)
					}
				}
			})
		},
	},
	{
		name: "unsafe has an address",
		why:  "what can corrupt memory is read in files named *_unsafe_linux.go and nowhere else",
		check: func(f *file, report func(ast.Node, string)) {
			f.imports(func(spec *ast.ImportSpec, path string) {
				if path == "unsafe" && !strings.HasSuffix(f.name, "_unsafe_linux.go") {
					report(spec, "imports unsafe")
				}
			})
		},
	},
	{
		name: "system calls have an address",
		why:  "raw, capture, privnet and kernel speak to the kernel, so that everything else builds and works on any system",
		check: func(f *file, report func(ast.Node, string)) {
			f.imports(func(spec *ast.ImportSpec, path string) {
				if path == sysUnix && !slices.Contains([]string{"raw", "capture", "internal/privnet", "internal/kernel"}, f.pkg) {
					report(spec, f.pkg+" imports "+path)
				}
			})
		},
	},
	{
		name: "time is an argument",
		why:  "a file must give the same answer whenever and however fast it is read: now comes in and a deadline goes out",
		check: func(f *file, report func(ast.Node, string)) {
			if !clockless(f) {
				return
			}
			f.mentions("time", []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "NewTimer", "NewTicker", "Tick"}, report)
			f.mentions("context", []string{"WithDeadline", "WithDeadlineCause", "WithTimeout", "WithTimeoutCause"}, report)
		},
	},
	{
		name: "only main exits",
		why:  "libraries return errors: an exit below cmd skips the deferred Close and loses what is not flushed. (tracetest re-executes a test binary and must hand on its status)",
		check: func(f *file, report func(ast.Node, string)) {
			if strings.HasPrefix(f.pkg, "cmd/") || f.pkg == "tracetest" {
				return
			}
			f.mentions("os", []string{"Exit"}, report)
			f.mentions("log", []string{"Fatal", "Fatalf", "Fatalln"}, report)
		},
	},
	{
		name: "no init functions",
		why:  "importing a package must do nothing: what runs is what main calls",
		check: func(f *file, report func(ast.Node, string)) {
			for _, decl := range f.syntax.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					report(fn.Name, "func init")
				}
			}
		},
	},
	{
		name:  "package variables do not change",
		why:   "state that nobody passed is shared by everybody: two trackers, two tests, two goroutines",
		check: changingVars,
	},
	{
		name: "testing stays in tests",
		why:  "testing in the program registers its flags and is linked into it; tracetest alone is imported by tests",
		check: func(f *file, report func(ast.Node, string)) {
			f.imports(func(spec *ast.ImportSpec, path string) {
				if f.pkg != "tracetest" && within(path, "testing") {
					report(spec, f.pkg+" imports "+path)
				}
			})
		},
	},
}

// clockless reports whether f must do without a clock.
func clockless(f *file) bool {
	switch f.pkg {
	case "raw", "decode", "trace", "internal/render", "internal/fixture", "internal/pcapfilter", "internal/craft", "internal/notation", "internal/where":
		return true
	case "internal/byhand": // but for what is live
		return !strings.HasPrefix(f.name, "host") && !strings.HasPrefix(f.name, "conn")
	case "internal/bench": // but for what measures
		return !strings.HasPrefix(f.name, "measure") && !strings.HasPrefix(f.name, "live")
	case "capture": // its file readers and writers; what is live has deadlines
		return strings.HasPrefix(f.name, "file") || strings.HasPrefix(f.name, "pcap") || strings.HasPrefix(f.name, "writer")
	}
	return false
}

// changingVars reports package variables that are made to change and the
// places that change one. It does not see a change through a pointer, a slice
// or a map that was copied from the variable, or by a method.
func changingVars(f *file, report func(ast.Node, string)) {
	for _, decl := range f.syntax.Decls {
		if decl, ok := decl.(*ast.GenDecl); ok && decl.Tok == token.VAR {
			for _, spec := range decl.Specs {
				madeToChange(f, decl, spec.(*ast.ValueSpec), report)
			}
		}
	}

	changes := func(target ast.Expr) {
		if name, ok := packageVar(f, target); ok {
			report(target, "changes "+name)
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, target := range n.Lhs {
					changes(target)
				}
			}
		case *ast.IncDecStmt:
			changes(n.X)
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				changes(n.Key)
				changes(n.Value)
			}
		case *ast.UnaryExpr:
			// The address of an element is how a table is read without copying.
			if _, whole := ast.Unparen(n.X).(*ast.Ident); whole && n.Op == token.AND {
				changes(n.X)
			}
		case *ast.CallExpr:
			if fn, ok := ast.Unparen(n.Fun).(*ast.Ident); ok && len(n.Args) > 0 {
				if _, ok := f.uses[fn].(*types.Builtin); ok && slices.Contains([]string{"clear", "copy", "delete"}, fn.Name) {
					changes(n.Args[0])
				}
			}
		}
		return true
	})
}

// madeToChange reports a package variable that could only be meant to change:
// one without a value, unless the compiler embeds one, or one of package sync.
func madeToChange(f *file, decl *ast.GenDecl, spec *ast.ValueSpec, report func(ast.Node, string)) {
	name := spec.Names[0].Name
	if name == "_" {
		return
	}
	if len(spec.Values) == 0 && !embeds(decl.Doc) && !embeds(spec.Doc) {
		report(spec, "var "+name+" has no value yet")
	}
	ast.Inspect(spec, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if path := f.imported(id); within(path, "sync") {
				report(spec, "var "+name+" uses "+path)
			}
		}
		return true
	})
}

// embeds reports whether doc has a directive of package embed.
func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// packageVar returns the package variable that e is or is a part of.
func packageVar(f *file, e ast.Expr) (name string, ok bool) {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.SelectorExpr:
			if id, ok := x.X.(*ast.Ident); ok && f.imported(id) != "" {
				return id.Name + "." + x.Sel.Name, true
			}
			e = x.X
		case *ast.Ident:
			v, ok := f.uses[x].(*types.Var)
			return x.Name, ok && v.Parent() == v.Pkg().Scope()
		default:
			return "", false
		}
	}
}

// imports calls each with every import of f.
func (f *file) imports(each func(spec *ast.ImportSpec, path string)) {
	for _, spec := range f.syntax.Imports {
		path, _ := strconv.Unquote(spec.Path.Value) // the parser has seen to it
		each(spec, path)
	}
}

// imported returns the path of the package that id names, "" when it names something else.
func (f *file) imported(id *ast.Ident) string {
	if name, ok := f.uses[id].(*types.PkgName); ok {
		return name.Imported().Path()
	}
	return ""
}

// mentions reports every use of one of a package's names, called or not. A
// dot import is reported itself: nothing says then what a name belongs to.
func (f *file) mentions(path string, names []string, report func(ast.Node, string)) {
	f.imports(func(spec *ast.ImportSpec, p string) {
		if p == path && spec.Name != nil && spec.Name.Name == "." {
			report(spec, "imports the names of "+path)
		}
	})
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(names, sel.Sel.Name) {
			if id, ok := sel.X.(*ast.Ident); ok && f.imported(id) == path {
				report(sel, "uses "+path+"."+sel.Sel.Name)
			}
		}
		return true
	})
}

// within reports whether path is the package root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}
