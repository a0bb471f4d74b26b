package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	yamltree "go.yaml.in/yaml/v2"
	strictjson "sigs.k8s.io/json"

	"github.com/edged-project/edged/metaclient/internal/quantity"
)

// decode fills into, a pointer to a struct. A field that the struct does not know
// is a warning; decode returns false, with an error for each field that does not
// fit, when into cannot be used.
func (d *decoding) decode(raw []byte, into any) bool {
	if bad := quantity.Check(raw, reflect.TypeOf(into)); bad != nil {
		d.fail(bad.Field, bad.ErrorBody())
		return false
	}
	strict, err := strictjson.UnmarshalStrict(raw, into)
	if err != nil {
		d.failFields(raw, reflect.TypeOf(into).Elem(), err)
		return false
	}
	for _, err := range strict {
		var at strictjson.FieldError
		if errors.As(err, &at) {
			// The whole error reads: unknown field "spec.foo".
			message, _, _ := strings.Cut(err.Error(), ` "`)
			d.warn(at.FieldPath(), message)
		}
	}
	return true
}

// failFields finds out which fields did not fit. The decoder's own error names one
// field at most, and none when the value has an encoding of its own, as quantities
// have.
func (d *decoding) failFields(raw []byte, into reflect.Type, cause error) {
	before := len(d.problems)
	var tree any
	if json.Unmarshal(raw, &tree) == nil {
		d.probe(into, tree, "", "", "")
	}
	if len(d.problems) == before {
		d.fail("", cause.Error())
	}
}

// probe decodes each leaf of tree alone, in a document that has nothing but the
// way down to it: open and end are what this document has before and behind.
func (d *decoding) probe(into reflect.Type, tree any, path, open, end string) {
	if len(d.problems) > maxProblems {
		return
	}
	alone := func(value any) error {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return strictjson.UnmarshalCaseSensitivePreserveInts([]byte(open+string(text)+end), reflect.New(into).Interface())
	}
	var err error
	switch node := tree.(type) {
	case map[string]any:
		if err = alone(struct{}{}); err == nil {
			for _, key := range slices.Sorted(maps.Keys(node)) {
				quoted, _ := json.Marshal(key)
				d.probe(into, node[key], join(path, key), open+"{"+string(quoted)+":", "}"+end)
			}
		}
	case []any:
		if err = alone([]any{}); err == nil {
			for i, item := range node {
				d.probe(into, item, fmt.Sprintf("%s[%d]", path, i), open+"[", "]"+end)
			}
		}
	default:
		err = alone(node)
	}
	if err != nil {
		d.fail(path, mismatch(err))
	}
}

// mismatch words an error of decoding a single value.
func mismatch(err error) string {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) {
		return fmt.Sprintf("must be %s, not %s", typeErr.Type, typeErr.Value)
	}
	return err.Error()
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// warnOfRepeats warns of keys that a YAML mapping has twice. They are lost on the
// way to JSON, where the last one is all that remains.
func (d *decoding) warnOfRepeats(doc []byte) {
	var tree yamltree.MapSlice
	if yamltree.Unmarshal(doc, &tree) != nil {
		return
	}
	repeats("", tree, func(path string) { d.warn(path, "duplicate field") })
}

func repeats(path string, tree any, found func(path string)) {
	switch node := tree.(type) {
	case yamltree.MapSlice:
		seen := make(map[string]bool, len(node))
		for _, item := range node {
			at := join(path, fmt.Sprint(item.Key))
			if seen[at] {
				found(at)
			}
			seen[at] = true
			repeats(at, item.Value, found)
		}
	case []any:
		for i, item := range node {
			repeats(fmt.Sprintf("%s[%d]", path, i), item, found)
		}
	}
}
