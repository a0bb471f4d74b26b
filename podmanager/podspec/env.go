package podspec

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// env is the environment of a container, in the order of the first definitions,
// and below it the variables that it has unless it defines them.
type env struct {
	names  []string
	values map[string]string
	below  map[string]string
}

// set defines a variable. A later definition replaces the value of an earlier one.
func (e *env) set(name, value string) {
	if _, defined := e.values[name]; !defined {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *env) lookup(name string) (string, bool) {
	if value, defined := e.values[name]; defined {
		return value, true
	}
	value, defined := e.below[name]
	return value, defined
}

func (e *env) keyValues() []*runtimeapi.KeyValue {
	var pairs []*runtimeapi.KeyValue
	for _, name := range e.names {
		pairs = append(pairs, &runtimeapi.KeyValue{Key: name, Value: []byte(e.values[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(e.below)) {
		if _, defined := e.values[name]; !defined {
			pairs = append(pairs, &runtimeapi.KeyValue{Key: name, Value: []byte(e.below[name])})
		}
	}
	return pairs
}

// environment evaluates the container's envFrom and then its env, each in its
// order: a value may refer to the variables before it and to those of services,
// what comes from elsewhere is taken as it is.
func environment(pod *corev1.Pod, c located, opts ContainerOptions) (*env, error) {
	e := &env{values: map[string]string{}, below: serviceVariables(pod, opts.Services)}
	for i := range c.EnvFrom {
		if err := e.setAll(opts, &c.EnvFrom[i], c.path.Child("envFrom").Index(i)); err != nil {
			return nil, err
		}
	}
	for i, variable := range c.Env {
		if !fromElsewhere(variable) {
			e.set(variable.Name, expand(variable.Value, e.lookup))
			continue
		}
		path := c.path.Child("env").Index(i).Child("valueFrom")
		value, present, err := envFromSource(pod, c, opts, variable.ValueFrom, path)
		if err != nil {
			return nil, err
		}
		if present {
			e.set(variable.Name, value)
		}
	}
	return e, nil
}

// fromElsewhere reports whether the variable's value is not in the pod's spec.
func fromElsewhere(variable corev1.EnvVar) bool {
	return variable.Value == "" && variable.ValueFrom != nil
}

// envFromSource is the value that the source names. It is not present when what
// is optional is not there.
func envFromSource(
	pod *corev1.Pod, c located, opts ContainerOptions, source *corev1.EnvVarSource, path *field.Path,
) (value string, present bool, err error) {
	switch {
	case source.FieldRef != nil:
		value, err = fieldValue(pod, opts, source.FieldRef, path.Child("fieldRef"))
		return value, true, err
	case source.ResourceFieldRef != nil:
		value, err = resourceFieldValue(pod, c.Container, opts, source.ResourceFieldRef, path.Child("resourceFieldRef"))
		return value, true, err
	case source.ConfigMapKeyRef != nil:
		return configMapValue(pod, opts, source.ConfigMapKeyRef)
	case source.SecretKeyRef != nil:
		return secretValue(pod, opts, source.SecretKeyRef)
	default:
		return "", false, field.Required(path, "names no source")
	}
}
