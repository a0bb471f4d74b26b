package podspec

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// EnvObjects names the ConfigMaps and Secrets that the environment of the
// container refers to, optional or not, each once and sorted. They are in the
// namespace of the pod. See ContainerOptions.ConfigMaps.
func EnvObjects(container *corev1.Container) (configMaps, secrets []string) {
	for _, source := range container.EnvFrom {
		switch {
		case source.ConfigMapRef != nil:
			configMaps = append(configMaps, source.ConfigMapRef.Name)
		case source.SecretRef != nil:
			secrets = append(secrets, source.SecretRef.Name)
		}
	}
	for _, variable := range container.Env {
		if !fromElsewhere(variable) {
			continue
		}
		switch source := variable.ValueFrom; {
		case source.ConfigMapKeyRef != nil:
			configMaps = append(configMaps, source.ConfigMapKeyRef.Name)
		case source.SecretKeyRef != nil:
			secrets = append(secrets, source.SecretKeyRef.Name)
		}
	}
	return sortedOnce(configMaps), sortedOnce(secrets)
}

func sortedOnce(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// setAll defines a variable for each key of the object that the source names.
func (e *env) setAll(opts ContainerOptions, source *corev1.EnvFromSource, path *field.Path) error {
	switch {
	case source.ConfigMapRef != nil:
		configMap, err := configMap(opts, source.ConfigMapRef.Name, source.ConfigMapRef.Optional)
		if configMap == nil {
			return err
		}
		setKeys(e, source.Prefix, configMap.Data)
	case source.SecretRef != nil:
		secret, err := secret(opts, source.SecretRef.Name, source.SecretRef.Optional)
		if secret == nil {
			return err
		}
		setKeys(e, source.Prefix, secret.Data)
	default:
		return field.Required(path, "names no source")
	}
	return nil
}

// setKeys leaves out what cannot be the name of a variable. No API server takes
// such a key, but not every object has seen one.
func setKeys[V string | []byte](e *env, prefix string, data map[string]V) {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if name := prefix + key; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			e.set(name, string(data[key]))
		}
	}
}

func configMapValue(pod *corev1.Pod, opts ContainerOptions, ref *corev1.ConfigMapKeySelector) (value string, present bool, err error) {
	configMap, err := configMap(opts, ref.Name, ref.Optional)
	if configMap == nil {
		return "", false, err
	}
	value, present = configMap.Data[ref.Key]
	if !present && !deref(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %s in ConfigMap %s/%s", ref.Key, pod.Namespace, ref.Name)
	}
	return value, present, nil
}

func secretValue(pod *corev1.Pod, opts ContainerOptions, ref *corev1.SecretKeySelector) (value string, present bool, err error) {
	secret, err := secret(opts, ref.Name, ref.Optional)
	if secret == nil {
		return "", false, err
	}
	content, present := secret.Data[ref.Key]
	if !present && !deref(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %s in Secret %s/%s", ref.Key, pod.Namespace, ref.Name)
	}
	return string(content), present, nil
}

// configMap is nil, without an error, when there is none and it is optional.
func configMap(opts ContainerOptions, name string, optional *bool) (*corev1.ConfigMap, error) {
	found := opts.ConfigMaps[name]
	if found == nil && !deref(optional) {
		return nil, fmt.Errorf("configmap %q not found", name)
	}
	return found, nil
}

// secret is the same for Secrets.
func secret(opts ContainerOptions, name string, optional *bool) (*corev1.Secret, error) {
	found := opts.Secrets[name]
	if found == nil && !deref(optional) {
		return nil, fmt.Errorf("secret %q not found", name)
	}
	return found, nil
}
