package critest

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	metricCPU    = "container_cpu_usage_seconds_total"
	metricMemory = "container_memory_working_set_bytes"
)

func (s *service) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	labels := []string{"id", "name"}
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: []*runtimeapi.MetricDescriptor{
		{Name: metricCPU, Help: "Cumulative CPU time consumed in seconds.", LabelKeys: labels},
		{Name: metricMemory, Help: "Current working set in bytes.", LabelKeys: labels},
	}}, nil
}

func (r *Runtime) listSandboxMetrics() []*runtimeapi.PodSandboxMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var metrics []*runtimeapi.PodSandboxMetrics
	for _, sb := range r.selectedSandboxes(selector{}) {
		if sb.ready {
			metrics = append(metrics, sandboxMetrics(sb, now))
		}
	}
	return metrics
}

func sandboxMetrics(sb *sandbox, now time.Time) *runtimeapi.PodSandboxMetrics {
	metrics := &runtimeapi.PodSandboxMetrics{PodSandboxId: sb.id}
	for _, c := range sb.containers {
		if c.running() {
			metrics.ContainerMetrics = append(metrics.ContainerMetrics, containerMetrics(c, now))
		}
	}
	return metrics
}

func containerMetrics(c *container, now time.Time) *runtimeapi.ContainerMetrics {
	labels := []string{c.id, c.config.GetMetadata().GetName()}
	metric := func(name string, kind runtimeapi.MetricType, value uint64) *runtimeapi.Metric {
		return &runtimeapi.Metric{Name: name, MetricType: kind, LabelValues: labels, Value: &runtimeapi.UInt64Value{Value: value}}
	}
	return &runtimeapi.ContainerMetrics{ContainerId: c.id, Metrics: []*runtimeapi.Metric{
		metric(metricCPU, runtimeapi.MetricType_COUNTER, uint64(c.usage.cpuTime(now).Seconds())),
		metric(metricMemory, runtimeapi.MetricType_GAUGE, c.usage.rate().Memory),
	}}
}

func (s *service) ListPodSandboxMetrics(context.Context, *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: s.r.listSandboxMetrics()}, nil
}

func (s *service) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxMetricsServer) error {
	return inParts(s.r.listSandboxMetrics(), func(part []*runtimeapi.PodSandboxMetrics) error {
		return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}
