package quantity_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/metaclient/internal/quantity"
)

var pod = reflect.TypeFor[corev1.Pod]()

func withCPU(text string) []byte {
	return fmt.Appendf(nil, `{"spec": {"overhead": {"cpu": %s}}}`, text)
}

func TestHugeNumbersAreRefused(t *testing.T) {
	for text, huge := range map[string]bool{
		`"12345678901234567890e2000000000"`:  true,
		`"1e2000000000"`:                     true,
		`"1E2000000000"`:                     true,
		`"0e+2000000000"`:                    true,
		`" -1e-2000000000 "`:                 true,
		`1e2000000000`:                       true,
		`"1e1000"`:                           true,
		`"1` + strings.Repeat("0", 64) + `"`: true,
		`1` + strings.Repeat("0", 64):        true,

		`"1e999"`:                               false,
		`"-1.5e-999"`:                           false,
		`"` + strings.Repeat("9", 64) + `"`:     false,
		`"  ` + strings.Repeat("9", 64) + `  "`: false,
		`9223372036854775807`:                   false,
		`0.1`:                                   false,
		`"100m"`:                                false,
		`"1.5Gi"`:                               false,
		`"2Ei"`:                                 false,
		`"9E"`:                                  false,
		`null`:                                  false,
		`true`:                                  false,
	} {
		bad := quantity.Check(withCPU(text), pod)
		assert.Equal(t, huge, bad != nil, text)
		if bad != nil {
			assert.Equal(t, "spec.overhead.cpu", bad.Field)
			assert.Less(t, len(bad.Error()), 200, "the text is not repeated")
		}
	}
}

func TestTheTypeTellsWhatIsAQuantity(t *testing.T) {
	for doc, want := range map[string]string{
		`{"spec":{"overhead":{"cpu":"1e9999","cpu":"1"}}}`:                                               "spec.overhead.cpu",
		`{"spec":{"overhead":{"cpu":"1e9999"}}, "spec":{}}`:                                              "spec.overhead.cpu",
		`{"a":[{}, [1]],"spec":{"b":{"c":null},"volumes":[{},{"emptyDir":{"sizeLimit":1e9999}}]}}`:       "spec.volumes[1].emptyDir.sizeLimit",
		`{"spec":{"containers":[{"env":[{"valueFrom":{"resourceFieldRef":{"divisor":"1e9999"}}}]}]}}`:    "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor",
		`{"spec":{"ephemeralContainers":[{"resources":{"limits":{"example.test/gpu":"1e9999"}}}]}}`:      "spec.ephemeralContainers[0].resources.limits.example.test/gpu",
		`{"metadata":{"annotations":{"overhead":"1e9999"}},"overhead":{"cpu":"1e9999"}}`:                 "",
		`{"spec":{"Overhead":{"cpu":"1e9999"},"overhead":"1e9999","containers":{"resources":"1e9999"}}}`: "",
		`{"spec":{"overhead":["1e9999"],"nodeSelector":{"cpu":"1e9999"},"":{"overhead":1}}}`:             "",
		`{"spec":{"overhead":{"cpu":`: "",
		`"1e9999"`:                    "",
		``:                            "",
	} {
		bad := quantity.Check([]byte(doc), pod)
		if want == "" {
			assert.Nil(t, bad, doc)
			continue
		}
		require.NotNil(t, bad, doc)
		assert.Equal(t, want, bad.Field)
	}
}

// Each quantity of a pod, made huge alone, is found: none of the API is forgotten.
func TestEachQuantityOfAPodIsFound(t *testing.T) {
	var whole corev1.Pod
	fill(reflect.ValueOf(&whole).Elem())
	doc, err := json.Marshal(whole)
	require.NoError(t, err)
	parts := strings.Split(string(doc), `"`+marker+`"`)
	require.Greater(t, len(parts), 30)
	for i := 1; i < len(parts); i++ {
		one := strings.Join(parts[:i], `"1"`) + `"1e9999"` + strings.Join(parts[i:], `"1"`)
		bad := quantity.Check([]byte(one), pod)
		require.NotNil(t, bad, parts[i-1])
	}
	require.Nil(t, quantity.Check(doc, pod))
}

const marker = "424242m"

// fill gives v one of everything, with the marker for each quantity.
func fill(v reflect.Value) {
	if q, ok := v.Addr().Interface().(*resource.Quantity); ok {
		*q = resource.MustParse(marker)
		return
	}
	if _, ok := v.Addr().Interface().(json.Marshaler); ok {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		item := reflect.New(v.Type().Elem()).Elem()
		fill(item)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), item)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	}
}

// What is let through can be calculated with; the fuzzer reports what hangs.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{"1", "12345678901234567890e2000000000", "0e2000000000", "1e-999", "1.5Ei", " 1e+999 ", "e"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		doc := withCPU(string(quoted))
		var decoded corev1.Pod
		if quantity.Check(doc, pod) != nil || json.Unmarshal(doc, &decoded) != nil {
			return
		}
		cpu := decoded.Spec.Overhead[corev1.ResourceCPU]
		one := resource.MustParse("1")
		assert.Equal(t, -one.Cmp(cpu), cpu.Cmp(one))
		cpu.Value()
		_, err = resource.ParseQuantity(cpu.String())
		assert.NoError(t, err)
	})
}

func ExampleCheck() {
	doc := []byte(`{"spec": {"overhead": {"cpu": "1e2000000000"}}}`)
	fmt.Println(quantity.Check(doc, reflect.TypeFor[corev1.Pod]()))
	// Output: spec.overhead.cpu: Invalid value: a quantity may have at most 64 characters and an exponent of at most 3 digits
}
