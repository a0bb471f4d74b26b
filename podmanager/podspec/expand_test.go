package podspec

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

var known = map[string]string{"NAME": "value", "EMPTY": "", "REF": "$(NAME)", "DOLLAR": "$"}

func lookup(name string) (string, bool) {
	value, ok := known[name]
	return value, ok
}

func TestExpansion(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"plain":                 {"no reference", "no reference"},
		"empty":                 {"", ""},
		"known":                 {"a $(NAME) b", "a value b"},
		"two":                   {"$(NAME)$(NAME)", "valuevalue"},
		"empty value":           {"[$(EMPTY)]", "[]"},
		"unknown stays":         {"$(NOPE)", "$(NOPE)"},
		"no name stays":         {"$()", "$()"},
		"escaped":               {"$$(NAME)", "$(NAME)"},
		"escaped dollar":        {"$$", "$"},
		"escaped then expanded": {"$$$(NAME)", "$value"},
		"unterminated stays":    {"$(NAME", "$(NAME"},
		"unterminated goes on":  {"$(NAME $(NAME)", "$(NAME $(NAME)"},
		"no recursion":          {"$(REF)", "$(NAME)"},
		"value is not rejoined": {"$(DOLLAR)(NAME)", "$(NAME)"},
		"nested is one name":    {"$(A$(NAME))", "$(A$(NAME))"},
		"shell form untouched":  {"${NAME} $NAME", "${NAME} $NAME"},
		"trailing dollar":       {"cost 5$", "cost 5$"},
		"dollar before text":    {"$x", "$x"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, row.want, expand(row.text, lookup))
		})
	}
}

// Whatever the text: nothing is lost that is not a reference, and doubling
// every dollar protects all of it.
func FuzzExpansion(f *testing.F) {
	for _, seed := range []string{"$(NAME)", "$$", "$(", "a$", "$(NOPE)$$(NAME)", "$((NAME))"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		nothing := func(string) (string, bool) { return "", false }
		if !strings.Contains(text, "$$") {
			assert.Equal(t, text, expand(text, nothing))
		}
		assert.Equal(t, text, expand(strings.ReplaceAll(text, "$", "$$"), lookup))
	})
}

func TestProbeCommandsKnowPlainValuesOnly(t *testing.T) {
	container := &corev1.Container{
		EnvFrom: []corev1.EnvFromSource{{Prefix: "ALL_"}},
		Env: []corev1.EnvVar{
			{Name: "PORT", Value: "1"}, {Name: "PORT", Value: "8080"}, {Name: "NEXT", Value: "$(PORT)"},
			{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		},
	}
	assert.Equal(t, []string{"check", "8080", "$(PORT)", "$(NAME)", "$(ALL_X)", "$(PORT)"},
		ProbeCommand(container, []string{"check", "$(PORT)", "$(NEXT)", "$(NAME)", "$(ALL_X)", "$$(PORT)"}))
}
