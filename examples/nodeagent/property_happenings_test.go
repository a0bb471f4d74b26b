package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri/critest"
)

// happenings are all that can happen.
var happenings = map[string]func(*world, step){
	"delete pod": func(w *world, s step) {
		pod, _ := w.target(s)
		w.ledger.say("%s is deleted", pod.Name)
		if object := w.desired(pod.Name); object != nil && w.knows(object.UID) {
			w.left[object.UID] = true
		}
		w.up.set(w.others(pod.Name))
	},
	"add pod": func(w *world, s step) {
		pod, _ := w.target(s)
		if w.desired(pod.Name) != nil {
			return
		}
		w.ledger.say("%s is added again, with the UID of its first life", pod.Name)
		object := pod.object()
		w.ledger.exempt(object.UID)
		if w.left[object.UID] {
			w.anew[object.UID] = w.ledger.starts(object.UID)
		}
		w.want(object)
	},
	"put back": func(w *world, s step) {
		pod, _ := w.target(s)
		object := w.desired(pod.Name)
		if object == nil || !w.knows(object.UID) {
			return
		}
		w.ledger.say("%s is taken away and put back %s later", pod.Name, s.Lasts)
		w.ledger.exempt(object.UID)
		w.up.set(w.others(pod.Name))
		w.pass(s.Lasts)
		object = object.DeepCopy()
		object.Status, object.DeletionTimestamp = corev1.PodStatus{}, nil
		w.anew[object.UID] = w.ledger.starts(object.UID)
		w.want(object)
	},
	"delete pod gracefully": func(w *world, s step) {
		pod, _ := w.target(s)
		object := w.desired(pod.Name)
		if object == nil || object.DeletionTimestamp != nil {
			return
		}
		w.ledger.say("%s is being deleted", pod.Name)
		object = object.DeepCopy()
		object.DeletionTimestamp, object.DeletionGracePeriodSeconds = new(metav1.Now()), &pod.Grace
		w.want(object)
	},
	"end upstream": func(w *world, s step) {
		pod, _ := w.target(s)
		object := w.desired(pod.Name)
		if object == nil || ended(object.Status.Phase) || !w.up.keeps {
			return
		}
		w.ledger.say("%s is failed upstream", pod.Name)
		w.ledger.forgive()
		object = object.DeepCopy()
		object.Status.Phase, object.Status.Reason = corev1.PodFailed, "NodeLost"
		w.want(object)
	},
	"evict": func(w *world, s step) {
		pod, _ := w.target(s)
		if object := w.desired(pod.Name); object != nil && w.agent != nil {
			w.ledger.say("%s is evicted", pod.Name)
			go func(a *agent) { _ = a.evict(w.t.Context(), object, lowOnMemory) }(w.agent)
		}
	},
	"resize": func(w *world, s step) {
		pod, _ := w.target(s)
		if object := w.desired(pod.Name); object != nil {
			object = asking(object, int64(s.Times)*w.capacity/4)
			w.ledger.say("%s wants %d thousandths of a CPU", pod.Name, object.Spec.Containers[0].Resources.Requests.Cpu().MilliValue())
			w.want(object)
		}
	},
	"gate": func(w *world, s step) {
		pod, _ := w.target(s)
		if object := w.desired(pod.Name); object != nil {
			object = object.DeepCopy()
			status := []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}[s.Times-1]
			w.ledger.say("gate of %s is %s", pod.Name, status)
			object.Status.Conditions = slices.DeleteFunc(slices.Clone(object.Status.Conditions), func(c corev1.PodCondition) bool { return c.Type == gateType })
			object.Status.Conditions = append(object.Status.Conditions, corev1.PodCondition{Type: gateType, Status: status})
			w.want(object)
		}
	},
	"agent is killed": func(w *world, _ step) {
		if w.agent == nil {
			return
		}
		store := filepath.Join(w.opts.root, "store.db")
		synctest.Wait()
		content, err := os.ReadFile(store)
		require.NoError(w.t, err)
		w.ledger.say("the agent is killed")
		_ = w.client.Close(context.Background())
		w.stopAgent()
		require.NoError(w.t, os.WriteFile(store, content, 0o600))
		w.ledger.forgive()
		w.forgetful = true
		w.startAgent()
	},
	"replace pod": func(w *world, s step) {
		pod, _ := w.target(s)
		object := pod.object()
		w.lives++
		object.UID = types.UID(fmt.Sprintf("%s-%d", pod.Name, w.lives))
		w.ledger.say("%s is replaced by UID %s", pod.Name, object.UID)
		w.want(object)
	},
	"edit image": func(w *world, s step) {
		pod, container := w.target(s)
		object := w.desired(pod.Name)
		if object == nil {
			return
		}
		object = object.DeepCopy()
		for _, list := range [][]corev1.Container{object.Spec.InitContainers, object.Spec.Containers} {
			for i := range list {
				if list[i].Name == container {
					list[i].Image = fmt.Sprintf("%s:%d", container, 2+s.Times)
					w.ledger.say("image of %s/%s is edited to %s", pod.Name, container, list[i].Image)
				}
			}
		}
		w.want(object)
	},
	"exit 0": func(w *world, s step) {
		w.hit(s, "exits with 0", func(id string) error { return w.runtime.Exit(id, 0) })
	},
	"exit 1": func(w *world, s step) {
		w.hit(s, "exits with 1", func(id string) error { return w.runtime.Exit(id, 1) })
	},
	"OOM kill": func(w *world, s step) { w.hit(s, "is OOM-killed", w.runtime.OOMKill) },
	"vanish": func(w *world, s step) {
		w.hit(s, "vanishes", func(id string) error { return w.ledger.forget(id, w.runtime.Vanish(id)) })
	},
	"unknown": func(w *world, s step) {
		w.hit(s, "is in unknown state", func(id string) error {
			if !w.ledger.runsNow(id) {
				return errors.New("its end is known")
			}
			return w.runtime.SetUnknown(id)
		})
	},
	"kill sandbox": func(w *world, s step) { w.hitSandbox(s, "is killed", w.runtime.KillSandbox) },
	"vanish sandbox": func(w *world, s step) {
		w.hitSandbox(s, "vanishes with its containers", func(id string) error {
			return w.ledger.forget(id, w.runtime.VanishSandbox(id))
		})
	},
	"runtime restarts": func(w *world, s step) {
		w.ledger.say("the runtime restarts and is away for %s", s.Lasts)
		w.runtime.Restart(s.Lasts)
		w.ledger.doubt(s.Lasts)
	},
	"reboot": func(w *world, s step) {
		w.ledger.say("the host reboots and is away for %s", s.Lasts)
		w.reboot(critest.RebootOptions{Down: s.Lasts})
	},
	"wiping reboot": func(w *world, s step) {
		w.ledger.say("the host reboots, loses all and is away for %s", s.Lasts)
		w.reboot(critest.RebootOptions{Down: s.Lasts, Wipe: true})
	},
	"calls fail": func(w *world, s step) {
		w.fault(s, "fail", critest.Fault{Err: grpcstatus.Error(codes.Internal, "broken")})
	},
	"answers lost": func(w *world, s step) {
		w.fault(s, "lose their answer", critest.Fault{Err: grpcstatus.Error(codes.Unavailable, "lost"), After: true})
	},
	"calls slow": func(w *world, s step) { w.fault(s, "take "+s.Lasts.String(), critest.Fault{Delay: s.Lasts}) },
	"answers late": func(w *world, s step) {
		w.fault(s, "answer after "+s.Lasts.String(), critest.Fault{Delay: s.Lasts, After: true})
	},
	"events lost": func(w *world, s step) {
		w.ledger.say("the next %d events are lost", 4*s.Times)
		w.ledger.scriptEvents(4*s.Times, critest.Delivery{Drop: true})
	},
	"events late": func(w *world, s step) {
		w.ledger.say("the next %d events come twice and %s late", 4*s.Times, s.Lasts)
		w.ledger.scriptEvents(4*s.Times, critest.Delivery{Delay: s.Lasts, Duplicate: 1})
	},
	"agent stops":  func(w *world, _ step) { w.stopAgent() },
	"agent starts": func(w *world, _ step) { w.startAgent() },
	"agent restarts": func(w *world, _ step) {
		w.stopAgent()
		w.startAgent()
	},
	"agent is cut off and restarts": func(w *world, _ step) {
		if w.agent != nil {
			w.ledger.say("the agent loses the runtime in the middle of its calls")
			_ = w.client.Close(context.Background())
		}
		w.stopAgent()
		w.startAgent()
	},
	"agent restarts without its store": func(w *world, _ step) {
		w.stopAgent()
		w.ledger.say("the store is lost")
		require.NoError(w.t, os.Remove(filepath.Join(w.opts.root, "store.db")))
		w.ledger.amnesia()
		w.forgetful = true
		w.startAgent()
	},
	"upstream cut":  func(w *world, _ step) { w.ledger.say("the upstream is cut"); w.up.setCut(true) },
	"upstream back": func(w *world, _ step) { w.ledger.say("the upstream is back"); w.up.setCut(false) },
	"nothing":       func(*world, step) {},
}
