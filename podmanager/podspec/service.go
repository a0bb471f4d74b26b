package podspec

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// masterService is the service of the API server, in the default namespace. Each
// pod gets its variables: clients in the cluster find the API server by them.
const masterService = "kubernetes"

// serviceVariables tell the pod where its services are (Kubernetes docs,
// "Service", environment variables).
func serviceVariables(pod *corev1.Pod, services []*corev1.Service) map[string]string {
	linked := linkedServices(pod, services)
	variables := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(linked)) {
		maps.Insert(variables, maps.All(variablesOf(linked[name])))
	}
	return variables
}

// linkedServices are those of the pod's namespace that have an address, by name,
// unless the pod wants none, and the API server's.
func linkedServices(pod *corev1.Pod, services []*corev1.Service) map[string]*corev1.Service {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	linked := map[string]*corev1.Service{}
	for _, service := range services {
		switch {
		case service == nil || !hasAddress(&service.Spec):
		case links && service.Namespace == pod.Namespace:
			linked[service.Name] = service
		case service.Namespace == metav1.NamespaceDefault && service.Name == masterService && linked[masterService] == nil:
			linked[masterService] = service
		}
	}
	return linked
}

func hasAddress(spec *corev1.ServiceSpec) bool {
	return spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone && len(spec.Ports) > 0
}

// variablesOf are the service's own and those of the links of old Docker.
func variablesOf(service *corev1.Service) map[string]string {
	prefix, ip := variableName(service.Name), service.Spec.ClusterIP
	first := service.Spec.Ports[0]
	variables := map[string]string{
		prefix + "_SERVICE_HOST": ip,
		prefix + "_SERVICE_PORT": servicePort(first),
		prefix + "_PORT":         portURL(ip, first),
	}
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			variables[prefix+"_SERVICE_PORT_"+variableName(port.Name)] = servicePort(port)
		}
		link := prefix + "_PORT_" + servicePort(port) + "_" + strings.ToUpper(scheme(port))
		variables[link] = portURL(ip, port)
		variables[link+"_PROTO"] = scheme(port)
		variables[link+"_PORT"] = servicePort(port)
		variables[link+"_ADDR"] = ip
	}
	return variables
}

func variableName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func servicePort(port corev1.ServicePort) string { return strconv.Itoa(int(port.Port)) }

func portURL(ip string, port corev1.ServicePort) string {
	return scheme(port) + "://" + net.JoinHostPort(ip, servicePort(port))
}

// scheme is the port's protocol in lower case: tcp, udp or sctp.
func scheme(port corev1.ServicePort) string {
	if port.Protocol == "" {
		return "tcp"
	}
	return strings.ToLower(string(port.Protocol))
}
