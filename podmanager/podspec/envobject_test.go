package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func configMapKey(name, key string, optional bool) corev1.EnvVarSource {
	return corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional,
	}}
}

func secretKey(name, key string, optional bool) corev1.EnvVarSource {
	return corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional,
	}}
}

func allOfConfigMap(prefix, name string, optional bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional,
	}}
}

func allOfSecret(prefix, name string, optional bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{Prefix: prefix, SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: &optional,
	}}
}

func envFrom(sources ...corev1.EnvFromSource) func(*corev1.Pod) {
	return app(func(c *corev1.Container) { c.EnvFrom = sources })
}

// objects are the ConfigMaps "settings" and "more" and the Secrets "login" and "more".
func objects(opts *podspec.ContainerOptions) {
	opts.ConfigMaps = map[string]*corev1.ConfigMap{
		"settings": {Data: map[string]string{"COLOR": "red", "SIZE": "9", "RAW": "$(COLOR)", "EMPTY": ""}, BinaryData: map[string][]byte{"BIN": {1}}},
		"more":     {Data: map[string]string{"COLOR": "blue"}},
		"odd":      {Data: map[string]string{"a.b-c": "1", "9": "2", "": "3", "X=Y": "4", "\x00": "5", "é": "6"}},
		"gone":     nil,
	}
	opts.Secrets = map[string]*corev1.Secret{
		"login": {Data: map[string][]byte{"USER": []byte("me"), "BYTES": {0xff, 0xfe}}, StringData: map[string]string{"TEXT": "no"}},
		"more":  {Data: map[string][]byte{"COLOR": []byte("green")}},
	}
}

func TestObjectsInTheEnvironment(t *testing.T) {
	for name, row := range map[string]struct {
		pod  []func(*corev1.Pod)
		want []string
	}{
		"keys of a ConfigMap, not the binary ones": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("", "settings", false))},
			[]string{"COLOR=red", "EMPTY=", "RAW=$(COLOR)", "SIZE=9"},
		},
		"keys of a Secret, bytes as they are": {
			[]func(*corev1.Pod){envFrom(allOfSecret("", "login", false))},
			[]string{"BYTES=\xff\xfe", "USER=me"},
		},
		"with a prefix": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("CM_", "more", false), allOfSecret("S.", "more", false))},
			[]string{"CM_COLOR=blue", "S.COLOR=green"},
		},
		"the later source wins": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("", "more", false), allOfSecret("", "more", false), allOfConfigMap("", "settings", false), allOfConfigMap("", "more", false))},
			[]string{"COLOR=blue", "EMPTY=", "RAW=$(COLOR)", "SIZE=9"},
		},
		"a variable of its own wins over all sources": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("", "more", false)), env(corev1.EnvVar{Name: "COLOR", Value: "was $(COLOR)"})},
			[]string{"COLOR=was blue"},
		},
		"what comes from elsewhere is used but not expanded": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("", "settings", false)), env(corev1.EnvVar{Name: "USE", Value: "$(SIZE) $(RAW)"})},
			[]string{"COLOR=red", "EMPTY=", "RAW=$(COLOR)", "SIZE=9", "USE=9 $(COLOR)"},
		},
		"one key of a ConfigMap": {
			[]func(*corev1.Pod){env(from(configMapKey("settings", "RAW", false)))}, []string{"A=$(COLOR)"},
		},
		"one key of a Secret": {
			[]func(*corev1.Pod){env(from(secretKey("login", "BYTES", false)))}, []string{"A=\xff\xfe"},
		},
		"an empty value is a value": {
			[]func(*corev1.Pod){env(from(configMapKey("settings", "EMPTY", false)))}, []string{"A="},
		},
		"names that a variable can have": {
			[]func(*corev1.Pod){envFrom(allOfConfigMap("", "odd", false))}, []string{"9=2", "a.b-c=1"},
		},
		"an optional object that is not there": {
			[]func(*corev1.Pod){
				envFrom(allOfConfigMap("", "none", true), allOfSecret("", "none", true), allOfConfigMap("", "gone", true)),
				env(from(configMapKey("none", "K", true)), from(secretKey("none", "K", true))),
			}, nil,
		},
		"an optional key that is not there leaves no variable": {
			[]func(*corev1.Pod){env(from(configMapKey("settings", "K", true)), from(secretKey("login", "K", true)))}, nil,
		},
		"nor changes the one that is there": {
			[]func(*corev1.Pod){env(corev1.EnvVar{Name: "A", Value: "1"}, from(configMapKey("settings", "BIN", true)))}, []string{"A=1"},
		},
		"a value that the spec has goes before its source": {
			[]func(*corev1.Pod){env(corev1.EnvVar{Name: "A", Value: "1", ValueFrom: ptr(configMapKey("none", "K", false))})}, []string{"A=1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(row.pod...)
			assert.Equal(t, row.want, lines(container(t, pod, options(objects))))
		})
	}
}

func TestObjectsThatAreNotThere(t *testing.T) {
	for name, row := range map[string]struct {
		pod  func(*corev1.Pod)
		want string
	}{
		"ConfigMap":               {envFrom(allOfConfigMap("", "none", false)), `configmap "none" not found`},
		"known to be gone":        {envFrom(allOfConfigMap("", "gone", false)), `configmap "gone" not found`},
		"Secret":                  {envFrom(allOfSecret("", "none", false)), `secret "none" not found`},
		"ConfigMap of a key":      {env(from(configMapKey("none", "K", false))), `configmap "none" not found`},
		"Secret of a key":         {env(from(secretKey("none", "K", false))), `secret "none" not found`},
		"key of a ConfigMap":      {env(from(configMapKey("settings", "K", false))), "couldn't find key K in ConfigMap shop/settings"},
		"binary key":              {env(from(configMapKey("settings", "BIN", false))), "couldn't find key BIN in ConfigMap shop/settings"},
		"key of a Secret":         {env(from(secretKey("login", "K", false))), "couldn't find key K in Secret shop/login"},
		"key that is not written": {env(from(secretKey("login", "TEXT", false))), "couldn't find key TEXT in Secret shop/login"},
		"optional elsewhere": {
			env(from(configMapKey("none", "K", true)), from(configMapKey("none", "K", false))), `configmap "none" not found`,
		},
		"source of nothing": {envFrom(corev1.EnvFromSource{}), "spec.containers[0].envFrom[0]: Required value: names no source"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(row.pod)
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(objects))
			assert.Equal(t, row.want, requireReason(t, err, podspec.ReasonContainerConfig))
		})
	}
}

func TestEnvironmentOptionalByDefaultNot(t *testing.T) {
	source := allOfSecret("", "none", false)
	source.SecretRef.Optional = nil
	pod := newPod(envFrom(source))
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(objects))
	assert.EqualError(t, err, `secret "none" not found`)
}

func TestCommandSeesTheWholeEnvironment(t *testing.T) {
	pod := newPod(envFrom(allOfConfigMap("", "settings", false)), env(from(secretKey("login", "USER", false))), app(func(c *corev1.Container) {
		c.Command, c.Args = []string{"$(COLOR)", "$(RAW)"}, []string{"$(A)", "$(SHOP_SERVICE_PORT)", "$(K)"}
	}))
	config := container(t, pod, options(objects, func(o *podspec.ContainerOptions) {
		o.Services = []*corev1.Service{service("shop", "shop", "10.0.0.1", corev1.ServicePort{Port: 80})}
	}))
	assert.Equal(t, []string{"red", "$(COLOR)"}, config.Command)
	assert.Equal(t, []string{"me", "80", "$(K)"}, config.Args)
}

func TestEnvObjectsAreThoseThatAreReferredTo(t *testing.T) {
	pod := newPod(
		envFrom(allOfConfigMap("", "b", true), allOfSecret("", "login", false), allOfConfigMap("P_", "b", false), corev1.EnvFromSource{}),
		env(
			from(configMapKey("a", "K", true)), from(secretKey("login", "K", false)), from(secretKey("key", "K", true)),
			corev1.EnvVar{Name: "V", Value: "1", ValueFrom: ptr(configMapKey("unused", "K", false))},
			corev1.EnvVar{Name: "W"}, from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}),
		))
	configMaps, secrets := podspec.EnvObjects(&pod.Spec.Containers[0])
	assert.Equal(t, []string{"a", "b"}, configMaps)
	assert.Equal(t, []string{"key", "login"}, secrets)

	configMaps, secrets = podspec.EnvObjects(&newPod().Spec.Containers[0])
	assert.Empty(t, configMaps)
	assert.Empty(t, secrets)
}
