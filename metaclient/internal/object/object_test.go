package object_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient/internal/object"
)

const hidden = "s3cret"

func fields(errs field.ErrorList) (fields []string) {
	for _, err := range errs {
		fields = append(fields, err.Field)
	}
	return fields
}

func TestSecretsOfEachType(t *testing.T) {
	data := func(keys ...string) map[string][]byte {
		m := map[string][]byte{}
		for _, key := range keys {
			m[key] = []byte(hidden)
		}
		return m
	}
	for name, tc := range map[string]struct {
		secret corev1.Secret
		want   []string
	}{
		"opaque":               {corev1.Secret{Data: data("a", "b.c", "d_e-F")}, nil},
		"any other type":       {corev1.Secret{Type: "example.test/x", Data: data("a")}, nil},
		"basic auth, user":     {corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: data("username")}, nil},
		"basic auth, password": {corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: data("password")}, nil},
		"basic auth, neither":  {corev1.Secret{Type: corev1.SecretTypeBasicAuth}, []string{"data[username]", "data[password]"}},
		"ssh":                  {corev1.Secret{Type: corev1.SecretTypeSSHAuth, Data: data("ssh-privatekey")}, nil},
		"ssh, empty":           {corev1.Secret{Type: corev1.SecretTypeSSHAuth, Data: map[string][]byte{"ssh-privatekey": nil}}, []string{"data[ssh-privatekey]"}},
		"tls":                  {corev1.Secret{Type: corev1.SecretTypeTLS, Data: data("tls.crt", "tls.key")}, nil},
		"tls, nothing":         {corev1.Secret{Type: corev1.SecretTypeTLS}, []string{"data[tls.crt]", "data[tls.key]"}},
		"docker":               {corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{".dockerconfigjson": []byte("{}")}}, nil},
		"docker, no json":      {corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: data(".dockerconfigjson")}, []string{"data[.dockerconfigjson]"}},
		"old docker, missing":  {corev1.Secret{Type: corev1.SecretTypeDockercfg}, []string{"data[.dockercfg]"}},
		"exactly full":         {corev1.Secret{Data: map[string][]byte{"a": make([]byte, object.MaxSize)}}, nil},
		"too full":             {corev1.Secret{Data: map[string][]byte{"a": make([]byte, object.MaxSize), "b": {1}}}, []string{"data"}},
		"long key":             {corev1.Secret{Data: data(strings.Repeat("k", 254))}, []string{"data[" + strings.Repeat("k", 64) + "]"}},
	} {
		errs := object.ValidateSecret(&tc.secret)
		assert.Equal(t, tc.want, fields(errs), name)
		for _, err := range errs {
			assert.NotContains(t, err.Error(), hidden)
		}
	}
}

func TestUpdatesOfWhatIsImmutable(t *testing.T) {
	yes := true
	old := &corev1.Secret{Immutable: &yes, Data: map[string][]byte{"a": []byte(hidden)}}
	same := old.DeepCopy()
	same.Labels = map[string]string{"a": "b"}
	assert.Empty(t, object.ValidateSecretUpdate(old, same))
	changed := old.DeepCopy()
	changed.Data["a"], changed.Immutable, changed.Type = nil, nil, "x"
	assert.Equal(t, []string{"type", "immutable", "data"}, fields(object.ValidateSecretUpdate(old, changed)))

	cm := &corev1.ConfigMap{Immutable: &yes, Data: map[string]string{}}
	assert.Empty(t, object.ValidateConfigMapUpdate(cm, &corev1.ConfigMap{Immutable: &yes}), "empty is nothing")
	assert.Equal(t, []string{"binaryData"},
		fields(object.ValidateConfigMapUpdate(cm, &corev1.ConfigMap{Immutable: &yes, BinaryData: map[string][]byte{"a": {}}})))
}
