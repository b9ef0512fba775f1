package render

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of a line that JSON renders.
//
//go:embed schema.json
var Schema string
