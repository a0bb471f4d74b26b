package admission_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager/admission"
)

func affine(terms ...corev1.NodeSelectorTerm) option {
	return spec(func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	})
}

func need(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: op, Values: values}
}

func labelled(all ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: all}
}

func field(all ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchFields: all}
}

func TestNodeAffinity(t *testing.T) {
	long := strings.Repeat("node.", 20) + "edge" // longer than a label's value may be
	node := admission.Node{Name: long, Labels: map[string]string{"disk": "ssd", "cores": "4", "empty": ""}}
	tests := map[string]struct {
		pod     *corev1.Pod
		matches bool
	}{
		"no selector":                    {pod("a"), true},
		"selector":                       {pod("a", selects("disk", "ssd")), true},
		"selector of another value":      {pod("a", selects("disk", "hdd")), false},
		"selector of an unknown label":   {pod("a", selects("gpu", "")), false},
		"selector of an empty value":     {pod("a", selects("empty", "")), true},
		"In":                             {pod("a", affine(labelled(need("disk", "In", "hdd", "ssd")))), true},
		"In others":                      {pod("a", affine(labelled(need("disk", "In", "hdd")))), false},
		"NotIn":                          {pod("a", affine(labelled(need("disk", "NotIn", "hdd")))), true},
		"NotIn where it is":              {pod("a", affine(labelled(need("disk", "NotIn", "ssd")))), false},
		"NotIn of an unknown label":      {pod("a", affine(labelled(need("gpu", "NotIn", "old")))), true},
		"Exists":                         {pod("a", affine(labelled(need("empty", "Exists")))), true},
		"Exists but does not":            {pod("a", affine(labelled(need("gpu", "Exists")))), false},
		"DoesNotExist":                   {pod("a", affine(labelled(need("gpu", "DoesNotExist")))), true},
		"DoesNotExist but does":          {pod("a", affine(labelled(need("disk", "DoesNotExist")))), false},
		"Gt":                             {pod("a", affine(labelled(need("cores", "Gt", "3")))), true},
		"Gt the same":                    {pod("a", affine(labelled(need("cores", "Gt", "4")))), false},
		"Lt":                             {pod("a", affine(labelled(need("cores", "Lt", "10")))), true},
		"Lt of what is no number":        {pod("a", affine(labelled(need("disk", "Lt", "10")))), false},
		"all of a term":                  {pod("a", affine(labelled(need("disk", "Exists"), need("gpu", "Exists")))), false},
		"one of the terms":               {pod("a", affine(labelled(need("gpu", "Exists")), labelled(need("disk", "Exists")))), true},
		"selector and affinity":          {pod("a", selects("disk", "hdd"), affine(labelled(need("disk", "Exists")))), false},
		"no term":                        {pod("a", affine()), false},
		"empty term":                     {pod("a", affine(corev1.NodeSelectorTerm{})), false},
		"unknown operator":               {pod("a", affine(labelled(need("disk", "Is", "ssd")))), false},
		"malformed beside one that fits": {pod("a", affine(labelled(need("disk", "Gt", "x")), labelled(need("disk", "Exists")))), true},
		"name":                           {pod("a", affine(field(need("metadata.name", "In", long)))), true},
		"another name":                   {pod("a", affine(field(need("metadata.name", "In", "other")))), false},
		"not another name":               {pod("a", affine(field(need("metadata.name", "NotIn", "other")))), true},
		"not this name":                  {pod("a", affine(field(need("metadata.name", "NotIn", long)))), false},
		"two names":                      {pod("a", affine(field(need("metadata.name", "In", long, "other")))), false},
		"a field that exists":            {pod("a", affine(field(need("metadata.name", "Exists")))), false},
		"another field":                  {pod("a", affine(field(need("metadata.uid", "In", long)))), false},
		"label and name": {pod("a", affine(corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{need("disk", "Exists")},
			MatchFields:      []corev1.NodeSelectorRequirement{need("metadata.name", "In", "other")},
		})), false},
		"preferences do not count": {pod("a", spec(func(s *corev1.PodSpec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
					{Weight: 1, Preference: labelled(need("gpu", "Exists"))},
				},
			}}
		})), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := map[bool]string{false: "NodeAffinity"}[tt.matches]
			assert.Equal(t, want, reason(tt.pod, node))
		})
	}
}

func TestNodeName(t *testing.T) {
	bound := func(name string) *corev1.Pod { return pod("a", spec(func(s *corev1.PodSpec) { s.NodeName = name })) }
	node := admission.Node{Name: "edge-1"}
	assert.Empty(t, reason(bound(""), node))
	assert.Empty(t, reason(bound("edge-1"), node))
	assert.Equal(t, "NodeName", reason(bound("edge-2"), node))
}

func ports(list ...corev1.ContainerPort) option {
	return containers(corev1.Container{Ports: list})
}

func TestNodePorts(t *testing.T) {
	at := func(port int32, protocol corev1.Protocol, ip string) corev1.ContainerPort {
		return corev1.ContainerPort{ContainerPort: 80, HostPort: port, Protocol: protocol, HostIP: ip}
	}
	inInit := func(c corev1.Container, port int32) option {
		c.Ports = []corev1.ContainerPort{at(port, "TCP", "")}
		return inits(c)
	}
	tests := map[string]struct {
		pod, other *corev1.Pod
		taken      bool
	}{
		"the same":                       {pod("a", ports(at(80, "TCP", ""))), pod("b", ports(at(80, "TCP", ""))), true},
		"another":                        {pod("a", ports(at(80, "TCP", ""))), pod("b", ports(at(81, "TCP", ""))), false},
		"none on the host":               {pod("a", ports(at(0, "TCP", ""))), pod("b", ports(at(0, "TCP", ""))), false},
		"the protocol is TCP by default": {pod("a", ports(at(80, "", ""))), pod("b", ports(at(80, "TCP", ""))), true},
		"another protocol":               {pod("a", ports(at(80, "UDP", ""))), pod("b", ports(at(80, "TCP", ""))), false},
		"the same address":               {pod("a", ports(at(80, "TCP", "10.0.0.1"))), pod("b", ports(at(80, "TCP", "10.0.0.1"))), true},
		"another address":                {pod("a", ports(at(80, "TCP", "10.0.0.1"))), pod("b", ports(at(80, "TCP", "10.0.0.2"))), false},
		"every address and one":          {pod("a", ports(at(80, "TCP", "0.0.0.0"))), pod("b", ports(at(80, "TCP", "10.0.0.2"))), true},
		"one address and every":          {pod("a", ports(at(80, "TCP", "10.0.0.2"))), pod("b", ports(at(80, "TCP", ""))), true},
		"one of several":                 {pod("a", ports(at(80, "TCP", ""), at(443, "TCP", ""))), pod("b", ports(at(8080, "TCP", "")), ports(at(443, "TCP", ""))), true},
		"of a sidecar":                   {pod("a", inInit(sidecar(), 80)), pod("b", ports(at(80, "TCP", ""))), true},
		"of an init container":           {pod("a", inInit(container(), 80)), pod("b", ports(at(80, "TCP", ""))), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := map[bool]string{true: "NodePorts"}[tt.taken]
			assert.Equal(t, want, reason(tt.pod, admission.Node{}, tt.other))
			assert.Equal(t, want, reason(tt.other, admission.Node{}, tt.pod), "the other way round")
		})
	}
}

func TestTaints(t *testing.T) {
	taint := corev1.Taint{Key: "maintenance", Value: "now", Effect: corev1.TaintEffectNoExecute}
	from := func(source string) option {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{"kubernetes.io/config.source": source} }
	}
	tolerates := func(list ...corev1.Toleration) option {
		return spec(func(s *corev1.PodSpec) { s.Tolerations = list })
	}
	seconds := int64(30)
	tests := map[string]struct {
		taint    corev1.Taint
		pod      *corev1.Pod
		admitted bool
	}{
		"no toleration":              {taint, pod("a"), false},
		"NoSchedule concerns others": {corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule}, pod("a"), true},
		"equal":                      {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Value: "now"})), true},
		"Equal":                      {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Operator: "Equal", Value: "now"})), true},
		"another value":              {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Value: "later"})), false},
		"another key":                {taint, pod("a", tolerates(corev1.Toleration{Key: "other", Operator: "Exists"})), false},
		"Exists":                     {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Operator: "Exists"})), true},
		"Exists for a while":         {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Operator: "Exists", TolerationSeconds: &seconds})), true},
		"every taint":                {taint, pod("a", tolerates(corev1.Toleration{Operator: "Exists"})), true},
		"another effect":             {taint, pod("a", tolerates(corev1.Toleration{Operator: "Exists", Effect: "NoSchedule"})), false},
		"that effect":                {taint, pod("a", tolerates(corev1.Toleration{Operator: "Exists", Effect: "NoExecute"})), true},
		"an operator that is not on": {taint, pod("a", tolerates(corev1.Toleration{Key: "maintenance", Operator: "Gt", Value: "1"})), false},
		"one of the tolerations":     {taint, pod("a", tolerates(corev1.Toleration{Key: "x"}, corev1.Toleration{Operator: "Exists"})), true},
		"a static pod":               {taint, pod("a", from("file")), true},
		"a pod of the API server":    {taint, pod("a", from("api")), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := map[bool]string{false: "TaintToleration"}[tt.admitted]
			assert.Equal(t, want, reason(tt.pod, admission.Node{Taints: []corev1.Taint{tt.taint}}))
		})
	}
}
