package podspec_test

import (
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func service(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: ports},
	}
}

func services(list ...*corev1.Service) podspec.ContainerOptions {
	return options(func(o *podspec.ContainerOptions) { o.Services = list })
}

func TestVariablesOfAService(t *testing.T) {
	opts := services(service("shop", "my-db", "10.0.0.1",
		corev1.ServicePort{Port: 5432},
		corev1.ServicePort{Port: 53, Name: "dns-udp", Protocol: corev1.ProtocolUDP},
	))
	assert.Equal(t, []string{
		"MY_DB_PORT=tcp://10.0.0.1:5432",
		"MY_DB_PORT_53_UDP=udp://10.0.0.1:53",
		"MY_DB_PORT_53_UDP_ADDR=10.0.0.1",
		"MY_DB_PORT_53_UDP_PORT=53",
		"MY_DB_PORT_53_UDP_PROTO=udp",
		"MY_DB_PORT_5432_TCP=tcp://10.0.0.1:5432",
		"MY_DB_PORT_5432_TCP_ADDR=10.0.0.1",
		"MY_DB_PORT_5432_TCP_PORT=5432",
		"MY_DB_PORT_5432_TCP_PROTO=tcp",
		"MY_DB_SERVICE_HOST=10.0.0.1",
		"MY_DB_SERVICE_PORT=5432",
		"MY_DB_SERVICE_PORT_DNS_UDP=53",
	}, lines(container(t, newPod(), opts)))
}

func TestAServiceAtAnIPv6Address(t *testing.T) {
	config := container(t, newPod(), services(service("shop", "db", "fd00::1", corev1.ServicePort{Port: 80})))
	assert.Contains(t, lines(config), "DB_PORT=tcp://[fd00::1]:80")
	assert.Contains(t, lines(config), "DB_SERVICE_HOST=fd00::1")
}

func TestWhichServicesAPodIsToldOf(t *testing.T) {
	port := corev1.ServicePort{Port: 1}
	list := []*corev1.Service{
		nil,
		service("shop", "own", "10.0.0.1", port),
		service("shop", "headless", "None", port),
		service("shop", "external", "", port),
		service("shop", "portless", "10.0.0.2"),
		service("other", "foreign", "10.0.0.3", port),
		service("default", "neighbour", "10.0.0.4", port),
		service("default", "kubernetes", "10.0.0.5", port),
		service("other", "kubernetes", "10.0.0.6", port),
	}
	own := service("shop", "kubernetes", "10.0.0.7", port)
	for name, row := range map[string]struct {
		namespace string
		links     *bool
		list      []*corev1.Service
		want      []string
	}{
		"of its namespace and the API server": {"shop", ptr(true), list, []string{"KUBERNETES_SERVICE_HOST=10.0.0.5", "OWN_SERVICE_HOST=10.0.0.1"}},
		"the same when it does not say":       {"shop", nil, list, []string{"KUBERNETES_SERVICE_HOST=10.0.0.5", "OWN_SERVICE_HOST=10.0.0.1"}},
		"the API server alone without links":  {"shop", ptr(false), list, []string{"KUBERNETES_SERVICE_HOST=10.0.0.5"}},
		"in the default namespace":            {"default", ptr(true), list, []string{"KUBERNETES_SERVICE_HOST=10.0.0.5", "NEIGHBOUR_SERVICE_HOST=10.0.0.4"}},
		"there without links":                 {"default", ptr(false), list, []string{"KUBERNETES_SERVICE_HOST=10.0.0.5"}},
		"its own of that name first":          {"shop", ptr(true), append([]*corev1.Service{own}, list...), []string{"KUBERNETES_SERVICE_HOST=10.0.0.7", "OWN_SERVICE_HOST=10.0.0.1"}},
		"its own of that name last":           {"shop", ptr(true), append(list[:len(list):len(list)], own), []string{"KUBERNETES_SERVICE_HOST=10.0.0.7", "OWN_SERVICE_HOST=10.0.0.1"}},
		"not that one without links":          {"shop", ptr(false), append([]*corev1.Service{own}, list...), []string{"KUBERNETES_SERVICE_HOST=10.0.0.5"}},
		"none of none":                        {"shop", ptr(true), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.EnableServiceLinks = row.links }), meta(func(p *corev1.Pod) { p.Namespace = row.namespace }))
			var hosts []string
			for _, line := range lines(container(t, pod, services(row.list...))) {
				if strings.Contains(line, "_SERVICE_HOST=") {
					hosts = append(hosts, line)
				}
			}
			assert.Equal(t, row.want, hosts)
		})
	}
}

func TestEnvironmentGoesBeforeServices(t *testing.T) {
	opts := services(service("shop", "db", "10.0.0.1", corev1.ServicePort{Port: 80}))
	opts.ConfigMaps = map[string]*corev1.ConfigMap{"c": {Data: map[string]string{"DB_SERVICE_PORT": "from object"}}}
	pod := newPod(envFrom(allOfConfigMap("", "c", false)), env(
		corev1.EnvVar{Name: "URL", Value: "$(DB_SERVICE_HOST):$(DB_SERVICE_PORT)"},
		corev1.EnvVar{Name: "DB_SERVICE_HOST", Value: "mine, not $(DB_SERVICE_HOST)"},
	))
	assert.Equal(t, []string{
		"DB_SERVICE_PORT=from object",
		"URL=10.0.0.1:from object",
		"DB_SERVICE_HOST=mine, not 10.0.0.1",
		"DB_PORT=tcp://10.0.0.1:80",
		"DB_PORT_80_TCP=tcp://10.0.0.1:80",
		"DB_PORT_80_TCP_ADDR=10.0.0.1",
		"DB_PORT_80_TCP_PORT=80",
		"DB_PORT_80_TCP_PROTO=tcp",
	}, lines(container(t, pod, opts)))
}
