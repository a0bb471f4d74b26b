package probe

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A hung container is asked again and again: what a check has begun must end with it, or
// the agent runs out of files.
func TestACheckThatTimesOutLeavesNothingOpen(t *testing.T) {
	for name, dial := range map[string]func(ctx context.Context, ended chan<- struct{}) (net.Conn, error){
		"nobody answers": func(ctx context.Context, ended chan<- struct{}) (net.Conn, error) {
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		},
		"nobody shakes hands": func(_ context.Context, ended chan<- struct{}) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, theirs)
				close(ended)
			}()
			return ours, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{})
				checker := NewChecker(nil, CheckerConfig{})
				checker.dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, ended) }
				action := &corev1.HTTPGetAction{Port: intstr.FromInt32(443), Scheme: corev1.URISchemeHTTPS}
				found, err := checker.Check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: action}}, target)
				require.NoError(t, err)
				assert.Equal(t, Failure, found.Result)
				synctest.Wait()
				select {
				case <-ended:
				default:
					t.Error("it goes on")
				}
			})
		})
	}
}
