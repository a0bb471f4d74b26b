package manifests

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient/internal/object"
)

// configMap decodes one ConfigMap.
func (d *decoding) configMap(raw []byte) {
	cm := &corev1.ConfigMap{}
	if !d.decode(raw, cm) {
		return
	}
	cm.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	cm.ObjectMeta = ownMeta(cm.ObjectMeta)
	d.take("ConfigMap", cm, append(checkMeta(&cm.ObjectMeta), object.ValidateConfigMap(cm)...))
}

// secret decodes one Secret. As in the API, its type is Opaque unless given, and
// stringData is written over data.
func (d *decoding) secret(raw []byte) {
	secret := &corev1.Secret{}
	if !d.decode(raw, secret) {
		return
	}
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	secret.ObjectMeta = ownMeta(secret.ObjectMeta)
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	for _, key := range slices.Sorted(maps.Keys(secret.StringData)) {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(secret.StringData[key])
	}
	secret.StringData = nil
	d.take("Secret", secret, append(checkMeta(&secret.ObjectMeta), object.ValidateSecret(secret)...))
}

// take keeps an object that is in order.
func (d *decoding) take(kind string, o metav1.Object, errs field.ErrorList) {
	for _, err := range errs {
		d.fail(err.Field, err.ErrorBody())
	}
	if len(errs) == 0 {
		d.entries = append(d.entries, entry{document: d.at.Document, kind: kind, object: o})
	}
}

// kindName is the kind within a sentence.
func kindName(kind string) string {
	if kind == "ConfigMap" {
		return "configMap"
	}
	return strings.ToLower(kind)
}
