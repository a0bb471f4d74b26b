package object

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// MaxSize is how many bytes the values of a ConfigMap or a Secret may have
// together, as in the API.
const MaxSize = corev1.MaxSecretSize

// ValidateConfigMap returns what is wrong with the content of a ConfigMap.
func ValidateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	errs := append(validateKeys("data", cm.Data), validateKeys("binaryData", cm.BinaryData)...)
	for _, key := range slices.Sorted(maps.Keys(cm.BinaryData)) {
		if _, ok := cm.Data[key]; ok {
			errs = append(errs, invalid(field.NewPath("data").Key(key), "is also a key of binaryData"))
		}
	}
	return append(errs, validateSize(field.NewPath("data"), size(cm.Data)+size(cm.BinaryData))...)
}

// ValidateSecret returns what is wrong with the content of a Secret.
func ValidateSecret(secret *corev1.Secret) field.ErrorList {
	errs := append(validateKeys("data", secret.Data), validateType(secret)...)
	return append(errs, validateSize(field.NewPath("data"), size(secret.Data))...)
}

// ValidateConfigMapUpdate returns what of an immutable ConfigMap was changed.
func ValidateConfigMapUpdate(old, cm *corev1.ConfigMap) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	errs := stillImmutable(cm.Immutable)
	errs = append(errs, unchanged("data", old.Data, cm.Data)...)
	return append(errs, unchanged("binaryData", old.BinaryData, cm.BinaryData)...)
}

// ValidateSecretUpdate returns what was changed that may not be: the type, and all
// of an immutable Secret.
func ValidateSecretUpdate(old, secret *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	if old.Type != secret.Type {
		errs = append(errs, invalid(field.NewPath("type"), "field is immutable"))
	}
	if old.Immutable == nil || !*old.Immutable {
		return errs
	}
	errs = append(errs, stillImmutable(secret.Immutable)...)
	return append(errs, unchanged("data", old.Data, secret.Data)...)
}

func stillImmutable(immutable *bool) field.ErrorList {
	if immutable != nil && *immutable {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")}
}

func unchanged[V any](name string, old, now map[string]V) field.ErrorList {
	if len(old) == 0 && len(now) == 0 || reflect.DeepEqual(old, now) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")}
}

func validateKeys[V any](name string, values map[string]V) (errs field.ErrorList) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		for _, message := range validation.IsConfigMapKey(key) {
			errs = append(errs, invalid(field.NewPath(name).Key(fmt.Sprintf("%.64s", key)), message))
		}
	}
	return errs
}

func size[V string | []byte](values map[string]V) (total int) {
	for _, value := range values {
		total += len(value)
	}
	return total
}

func validateSize(path *field.Path, total int) field.ErrorList {
	if total <= MaxSize {
		return nil
	}
	return field.ErrorList{invalid(path, fmt.Sprintf("values have %d bytes, at most %d are allowed", total, MaxSize))}
}

// validateType checks what the type promises.
func validateType(secret *corev1.Secret) field.ErrorList {
	data := field.NewPath("data")
	required := func(keys ...string) (errs field.ErrorList) {
		for _, key := range keys {
			if _, ok := secret.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), fmt.Sprintf("a secret of type %s has it", secret.Type)))
			}
		}
		return errs
	}
	switch secret.Type {
	case corev1.SecretTypeServiceAccountToken:
		if secret.Annotations[corev1.ServiceAccountNameKey] == "" {
			return field.ErrorList{field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey),
				fmt.Sprintf("a secret of type %s has it", secret.Type))}
		}
	case corev1.SecretTypeDockercfg:
		return append(required(corev1.DockerConfigKey), isJSON(secret, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		return append(required(corev1.DockerConfigJsonKey), isJSON(secret, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := secret.Data[corev1.BasicAuthUsernameKey]
		if _, password := secret.Data[corev1.BasicAuthPasswordKey]; !user && !password {
			return required(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(secret.Data[corev1.SSHAuthPrivateKey]) == 0 {
			return field.ErrorList{field.Required(data.Key(corev1.SSHAuthPrivateKey), fmt.Sprintf("a secret of type %s has it", secret.Type))}
		}
	case corev1.SecretTypeTLS:
		return required(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return nil
}

func isJSON(secret *corev1.Secret, key string) field.ErrorList {
	value, ok := secret.Data[key]
	if !ok || json.Valid(value) {
		return nil
	}
	return field.ErrorList{invalid(field.NewPath("data").Key(key), "is not valid JSON")}
}

// invalid leaves the value out.
func invalid(path *field.Path, message string) *field.Error {
	return field.Invalid(path, field.OmitValueType{}, message)
}
