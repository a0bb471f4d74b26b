package metaclient

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// record is what the node knows of an object. That there is none is knowledge too:
// without it, a pod with an optional Secret that does not exist could not start
// offline.
type record struct {
	// Version is the object's, or that at which it was known to be gone.
	Version string          `json:"version,omitempty"`
	Absent  bool            `json:"absent,omitempty"`
	Object  json.RawMessage `json:"object,omitempty"`
}

func presentRecord(ref Ref, o metav1.Object) (record, error) {
	value, err := encodeObject(ref, o)
	if err != nil {
		return record{}, err
	}
	return record{Version: o.GetResourceVersion(), Object: value}, nil
}

func (r record) encode() []byte {
	// It cannot fail: the object was encoded before.
	value, _ := json.Marshal(r)
	return value
}

func decodeRecord(value []byte) (record, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return record{}, fmt.Errorf("decode record: %w", withoutText(err))
	}
	if !r.Absent && len(r.Object) == 0 {
		return record{}, fmt.Errorf("record holds nothing")
	}
	return r, nil
}

// withoutText: an error of decoding may repeat a character of what was decoded.
func withoutText(err error) error { return fmt.Errorf("%T", err) }

func (r record) object(ref Ref) (metav1.Object, error) {
	o := ref.Kind.blank()
	if err := json.Unmarshal(r.Object, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", ref, withoutText(err))
	}
	if got, err := refOf(o); err != nil || got != ref {
		return nil, fmt.Errorf("value of %s belongs to another object", ref)
	}
	o.SetResourceVersion(r.Version)
	return o, nil
}

// checkRecord tells the store whether a record can be read by this program.
func checkRecord(kind Kind) func(key string, value []byte) error {
	return func(key string, value []byte) error {
		r, err := decodeRecord(value)
		if err != nil || r.Absent {
			return err
		}
		_, err = r.object(refOfKey(kind, key))
		return err
	}
}

// storedRecord returns what the store knows, false when that is nothing, and the value
// as it is stored.
func storedRecord(r store.Reader, ref Ref) (rec record, raw []byte, ok bool) {
	raw = r.Get(ref.Kind.resource(), ref.key())
	if raw == nil {
		return record{}, nil, false
	}
	rec, err := decodeRecord(raw)
	return rec, bytes.Clone(raw), err == nil
}

// older reports whether version a came before b. Versions that are not numbers
// have no order.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// planPush takes a record that the upstream delivered, unless it is older than what
// is known. An object that is gone comes back with a newer version only.
func planPush(r store.Reader, ref Ref, next record) []store.Change {
	known, _, ok := storedRecord(r, ref)
	late := older(next.Version, known.Version) ||
		known.Absent && !next.Absent && known.Version != "" && known.Version == next.Version
	if ok && late {
		return nil
	}
	return planRecord(r, ref, next)
}

// answer is what the upstream said when it was asked.
type answer struct {
	record
	before []byte // what was stored when the question was put
	force  bool   // believe it even if its version is older: the upstream was rebuilt
}

// planAnswer takes an answer, unless it is older than what is known or something
// was delivered while the question was under way.
func planAnswer(r store.Reader, ref Ref, a answer) []store.Change {
	known, raw, ok := storedRecord(r, ref)
	if a.Absent && ok && !a.force {
		a.Version = known.Version
	}
	overtaken := !bytes.Equal(raw, a.before) && !older(known.Version, a.Version)
	if ok && (overtaken || !a.force && older(a.Version, known.Version)) {
		return nil
	}
	return planRecord(r, ref, a.record)
}

// planRecord writes a node only for what is new beside its version, which rises
// with each heartbeat.
func planRecord(r store.Reader, ref Ref, next record) []store.Change {
	known, _, ok := storedRecord(r, ref)
	if ok && ref.Kind == KindNode && known.Absent == next.Absent && bytes.Equal(known.Object, next.Object) {
		return nil
	}
	return []store.Change{{Bucket: ref.Kind.resource(), Key: ref.key(), Value: next.encode()}}
}
