package quantity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What can be calculated with in microseconds. 64 bits need 19 digits.
const (
	maxLength         = 64
	maxExponentDigits = 3
)

// Check returns the first quantity of doc that is too large to be decoded into a
// value of type as, or nil. A field that is given twice is looked at twice, since
// a decoder parses both. What is not JSON has no quantities.
func Check(doc []byte, as reflect.Type) *field.Error {
	w := walk{json.NewDecoder(bytes.NewReader(doc))}
	w.tokens.UseNumber()
	var bad *field.Error
	errors.As(w.value(as, nil), &bad)
	return bad
}

// walk goes through a document once. Its error is what was found.
type walk struct {
	tokens *json.Decoder
}

func (w walk) value(as reflect.Type, path *field.Path) error {
	if as == nil {
		return w.tokens.Decode(&json.RawMessage{})
	}
	if as.Kind() == reflect.Pointer {
		as = as.Elem()
	}
	token, err := w.tokens.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		err = w.members(as, path)
	case json.Delim('['):
		err = w.items(as, path)
	default:
		if as == reflect.TypeFor[resource.Quantity]() && isHuge(fmt.Sprint(token)) {
			return field.Invalid(path, field.OmitValueType{}, fmt.Sprintf(
				"a quantity may have at most %d characters and an exponent of at most %d digits", maxLength, maxExponentDigits))
		}
	}
	return err
}

func (w walk) members(as reflect.Type, path *field.Path) error {
	for w.tokens.More() {
		name, err := w.tokens.Token()
		if err != nil {
			return err
		}
		key := fmt.Sprint(name)
		if err := w.value(memberType(as, key), path.Child(key)); err != nil {
			return err
		}
	}
	_, err := w.tokens.Token()
	return err
}

func (w walk) items(as reflect.Type, path *field.Path) error {
	var item reflect.Type
	if as.Kind() == reflect.Slice {
		item = as.Elem()
	}
	for i := 0; w.tokens.More(); i++ {
		if err := w.value(item, path.Index(i)); err != nil {
			return err
		}
	}
	_, err := w.tokens.Token()
	return err
}

// memberType is the type of what an object has under name, nil if it has nothing
// there. Names are matched exactly, as Kubernetes does.
func memberType(object reflect.Type, name string) reflect.Type {
	switch object.Kind() {
	case reflect.Map:
		return object.Elem()
	case reflect.Struct:
		for f := range object.Fields() {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == name && tag != "" {
				return f.Type
			}
			if tag == "" && f.Anonymous {
				if inlined := memberType(f.Type, name); inlined != nil {
					return inlined
				}
			}
		}
	}
	return nil
}

func isHuge(text string) bool {
	text = strings.TrimSpace(text)
	_, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	return len(text) > maxLength || len(strings.TrimLeft(exponent, "+-")) > maxExponentDigits
}
