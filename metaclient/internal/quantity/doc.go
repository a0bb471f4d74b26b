// Package quantity finds, in the JSON of an object, the one kind of text that
// must not be decoded: a quantity with a number so large that to parse it, to
// compare it or to write it down takes hours (12345678901234567890e2000000000
// and 1e2000000000 are easily written, and are valid).
//
//	if bad := quantity.Check(doc, reflect.TypeFor[corev1.Pod]()); bad != nil {
//		return bad // names the field
//	}
//	err := json.Unmarshal(doc, &pod)
//
// The Go type tells what is a quantity, so a string that only looks like one (an
// annotation, an argument) is not found fault with, and a field that is new in
// the API needs no line here. Check takes time in proportion to the document.
//
// It does not say whether a quantity makes sense, or is one at all: decoding and
// validation do.
package quantity
