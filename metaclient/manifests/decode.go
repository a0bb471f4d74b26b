package manifests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// maxProblems bounds what is listed of one file.
const maxProblems = 100

// decoder turns the bytes of files into objects. It has no state.
type decoder struct {
	nodeName string
	complete func(pod *corev1.Pod) field.ErrorList
}

// file decodes all documents of a file. What cannot be used is in the problems.
func (d decoder) file(name string, data []byte) file {
	docs, err := split(data)
	if err != nil {
		return file{broken: true, problems: []Problem{{File: name, Message: err.Error()}}}
	}
	var f file
	number := 0
	for _, doc := range docs {
		raw, isJSON, err := toJSON(name, doc)
		if err == nil && isEmpty(raw) {
			continue
		}
		number++
		dec := &decoding{decoder: d, at: Problem{File: name, Document: number}}
		if err != nil {
			dec.fail("", err.Error())
		} else {
			dec.document(raw)
		}
		if err == nil && !isJSON {
			dec.warnOfRepeats(doc)
		}
		f.add(dec)
	}
	return f
}

// add takes over what a document gave. Of very many problems the first suffice.
func (f *file) add(d *decoding) {
	f.entries = append(f.entries, d.entries...)
	f.broken = f.broken || slices.ContainsFunc(d.problems, func(p Problem) bool { return !p.Warning })
	for _, p := range d.problems {
		switch len(f.problems) {
		default:
			f.problems = append(f.problems, p)
		case maxProblems:
			f.problems = append(f.problems, Problem{File: p.File, Message: "further problems of this file are not listed", Warning: true})
		case maxProblems + 1:
			return
		}
	}
}

// split cuts a file at its "---" lines.
func split(data []byte) ([][]byte, error) {
	reader := yamlutil.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var docs [][]byte
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot split file into documents: %w", err)
		}
		docs = append(docs, doc)
	}
}

// toJSON does not take JSON for the YAML that it nearly is: YAML knows no tabs,
// and would hide what is wrong with the JSON.
func toJSON(file string, doc []byte) (raw []byte, isJSON bool, err error) {
	if filepath.Ext(file) == ".json" || json.Valid(doc) {
		return doc, true, nil
	}
	if raw, err = yaml.YAMLToJSON(doc); err != nil && strings.Contains(err.Error(), "unknown anchor") {
		// A secret that begins with an asterisk looks like one, and would be told.
		err = errors.New("yaml: unknown anchor: quote a text that begins with *")
	}
	return raw, false, err
}

func isEmpty(raw []byte) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

// decoding is the work on one document.
type decoding struct {
	decoder
	at       Problem // file, document and object in hand
	prefix   string  // of fields: the item in hand
	entries  []entry
	problems []Problem
}

func (d *decoding) fail(field, message string) { d.add(field, message, false) }
func (d *decoding) warn(field, message string) { d.add(field, message, true) }

func (d *decoding) add(field, message string, warning bool) {
	p := d.at
	p.Field, p.Message, p.Warning = strings.TrimSuffix(d.prefix+field, "."), message, warning
	d.problems = append(d.problems, p)
}

// document decodes an object or a list of them.
func (d *decoding) document(raw []byte) {
	obj, err := parse(raw)
	if err != nil {
		d.fail("", err.Error())
		return
	}
	d.at.Object = describe(obj)
	switch kind, ok := d.kind(obj); {
	case !ok:
	case strings.HasSuffix(kind, "List"):
		d.list(raw, kind)
	default:
		d.object(kind, raw, obj)
	}
}

// object decodes a single object of a kind that is served.
func (d *decoding) object(kind string, raw []byte, obj map[string]any) {
	switch kind {
	case "Pod":
		d.pod(raw, obj)
	case "ConfigMap":
		d.configMap(raw)
	case "Secret":
		d.secret(raw)
	}
}

// served are the kinds of v1 that are, each of which has its list.
func served() []string { return []string{"Pod", "ConfigMap", "Secret"} }

// kind returns the object's kind if it is one that is served.
func (d *decoding) kind(obj map[string]any) (string, bool) {
	kind, _ := obj["kind"].(string)
	version, _ := obj["apiVersion"].(string)
	switch {
	case kind == "":
		d.fail("kind", "kind is missing")
	case version == "":
		d.fail("apiVersion", "apiVersion is missing")
	case version == "v1" && (kind == "List" || slices.Contains(served(), strings.TrimSuffix(kind, "List"))):
		return kind, true
	default:
		d.fail("kind", fmt.Sprintf("%s of %s is not served from a folder, only v1 Pod, ConfigMap, Secret and lists of them are", kind, version))
	}
	return "", false
}

// list decodes each item on its own. The items of a PodList need not repeat that
// they are pods, and so on.
func (d *decoding) list(raw []byte, kind string) {
	var list struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []json.RawMessage `json:"items"`
	}
	if !d.decode(raw, &list) {
		return
	}
	whole := d.at.Object
	for i, item := range list.Items {
		d.prefix = fmt.Sprintf("items[%d].", i)
		d.item(item, kind)
	}
	d.prefix, d.at.Object = "", whole
}

func (d *decoding) item(raw []byte, list string) {
	obj, err := parse(raw)
	if err != nil {
		d.fail("", err.Error())
		return
	}
	if kind := strings.TrimSuffix(list, "List"); kind != "" && obj["kind"] == nil && obj["apiVersion"] == nil {
		obj["kind"], obj["apiVersion"] = kind, "v1"
	}
	d.at.Object = describe(obj)
	kind, ok := d.kind(obj)
	switch {
	case !ok:
	case strings.HasSuffix(kind, "List"):
		d.fail("kind", "a list in a list is not served")
	default:
		d.object(kind, raw, obj)
	}
}

// parse decodes raw as an object of any kind, numbers as they are written.
func parse(raw []byte) (map[string]any, error) {
	if err := json.Unmarshal(raw, &json.RawMessage{}); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	var obj map[string]any
	numbers := json.NewDecoder(bytes.NewReader(raw))
	numbers.UseNumber()
	if err := numbers.Decode(&obj); err != nil || obj == nil {
		return nil, errors.New("not a Kubernetes object")
	}
	return obj, nil
}
