package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/edged-project/edged/statusmgr"
)

// printPods writes a table of a running agent's pods, as kubectl get pods -A -o
// wide does.
func printPods(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("nodeagent pods", flag.ExitOnError)
	root := flags.String("root", defaultRoot, "`folder` of the agent's own files")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() > 0 {
		return fmt.Errorf("pods: unknown argument %q", flags.Arg(0))
	}
	pods, err := fetchPods(ctx, *root)
	if err != nil {
		return err
	}
	return writeTable(out, pods, time.Now())
}

func writeTable(out io.Writer, pods []corev1.Pod, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAMESPACE\tNAME\tREADY\tSTATUS\tRESTARTS\tAGE\tIP")
	for i := range pods {
		fmt.Fprintln(table, strings.Join(row(&pods[i], now), "\t"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func row(pod *corev1.Pod, now time.Time) []string {
	summary := statusmgr.Summarize(pod)
	return []string{
		pod.Namespace,
		pod.Name,
		fmt.Sprintf("%d/%d", summary.Ready, summary.Containers),
		summary.Status,
		restarts(pod, summary.Restarts, now),
		age(pod, now),
		orElse(pod.Status.PodIP, "<none>"),
	}
}

// restarts is the count and, where there was one, how long the last one is past.
func restarts(pod *corev1.Pod, count int, now time.Time) string {
	var last time.Time
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.LastTerminationState.Terminated; ended != nil && ended.FinishedAt.After(last) {
			last = ended.FinishedAt.Time
		}
	}
	if count == 0 || last.IsZero() {
		return fmt.Sprint(count)
	}
	return fmt.Sprintf("%d (%s ago)", count, duration.HumanDuration(now.Sub(last)))
}

func age(pod *corev1.Pod, now time.Time) string {
	if pod.Status.StartTime == nil {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(pod.Status.StartTime.Time))
}
