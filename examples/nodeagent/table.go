package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/edged-project/edged/statusmgr"
)

// show prints what a running agent knows: "pods" as kubectl get pods -A -o wide
// does, or "events".
func show(ctx context.Context, what string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("nodeagent "+what, flag.ExitOnError)
	root := flags.String("root", defaultRoot, "`folder` of the agent's own files")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unknown argument %q", what, flags.Arg(0))
	}
	if what == "events" {
		var list corev1.EventList
		if err := fetch(ctx, *root, what, &list); err != nil {
			return err
		}
		return writeEvents(out, list.Items, time.Now())
	}
	var list corev1.PodList
	if err := fetch(ctx, *root, what, &list); err != nil {
		return err
	}
	return writePods(out, list.Items, time.Now())
}

func writePods(out io.Writer, pods []corev1.Pod, now time.Time) error {
	table := newTable(out, "NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP")
	for i := range pods {
		table.add(row(&pods[i], now)...)
	}
	return table.flush()
}

func writeEvents(out io.Writer, events []corev1.Event, now time.Time) error {
	table := newTable(out, "LAST SEEN", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE")
	for _, event := range events {
		about := event.InvolvedObject
		object := about.Namespace + "/" + about.Name
		if about.FieldPath != "" {
			object += " " + about.FieldPath
		}
		table.add(duration.HumanDuration(now.Sub(event.LastTimestamp.Time)), fmt.Sprint(event.Count),
			event.Type, event.Reason, object, strings.TrimSpace(event.Message))
	}
	return table.flush()
}

// table is text in columns.
type table struct {
	*tabwriter.Writer
}

func newTable(out io.Writer, columns ...string) table {
	t := table{tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)}
	t.add(columns...)
	return t
}

func (t table) add(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.Map(printable, cell)
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// printable keeps what containers say from leaving its cell, or telling the terminal
// what to do.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

func (t table) flush() error {
	if err := t.Flush(); err != nil {
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
		cmp.Or(pod.Status.PodIP, "<none>"),
	}
}

// restarts is the count and, where there was one, how long the last one is past.
func restarts(pod *corev1.Pod, count int, now time.Time) string {
	var last time.Time
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
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
