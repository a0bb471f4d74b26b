package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// env is the environment of a container, in the order of the first definitions.
type env struct {
	names  []string
	values map[string]string
}

// set defines a variable. A later definition replaces the value of an earlier one.
func (e *env) set(name, value string) {
	if _, defined := e.values[name]; !defined {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *env) lookup(name string) (string, bool) {
	value, defined := e.values[name]
	return value, defined
}

func (e *env) keyValues() []*runtimeapi.KeyValue {
	var pairs []*runtimeapi.KeyValue
	for _, name := range e.names {
		pairs = append(pairs, &runtimeapi.KeyValue{Key: name, Value: []byte(e.values[name])})
	}
	return pairs
}

// environment evaluates the container's env in its order: a value may refer to
// the variables before it, what comes from elsewhere is taken as it is.
func environment(pod *corev1.Pod, c located, opts ContainerOptions) (*env, error) {
	e := &env{values: map[string]string{}}
	for i, variable := range c.Env {
		if variable.Value != "" || variable.ValueFrom == nil {
			e.set(variable.Name, expand(variable.Value, e.lookup))
			continue
		}
		path := c.path.Child("env").Index(i).Child("valueFrom")
		value, err := envFromSource(pod, c, opts, variable.ValueFrom, path)
		if err != nil {
			return nil, err
		}
		e.set(variable.Name, value)
	}
	return e, nil
}

func envFromSource(pod *corev1.Pod, c located, opts ContainerOptions, source *corev1.EnvVarSource, path *field.Path) (string, error) {
	switch {
	case source.FieldRef != nil:
		return fieldValue(pod, opts, source.FieldRef, path.Child("fieldRef"))
	case source.ResourceFieldRef != nil:
		return resourceFieldValue(pod, c.Container, opts, source.ResourceFieldRef, path.Child("resourceFieldRef"))
	default:
		return "", field.Required(path, "names no source")
	}
}
