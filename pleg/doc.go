// Package pleg (pod lifecycle event generator) keeps the newest observation of
// every pod that a container runtime knows, and says which pods changed.
//
// Each second it lists all sandboxes and containers, and asks for the full
// status of those pods only whose records changed. What it learns is a
// [cri.PodState], read with State; a change is told as the pod's UID, meaning
// "look again". It knows the runtime only: what pods should exist is the
// business of others.
//
//	generator := pleg.New(client, pleg.Config{
//		OnChange: manager.Wake, // func(types.UID), must not block
//		Logger:   logger,
//	})
//	go generator.Run(ctx)
//
//	before := time.Now() // the end of our own last action on the pod
//	state, err := generator.State(ctx, uid, before)
//	if err != nil {
//		return err // ctx ended, or the runtime cannot tell this pod's status
//	}
//	if c := state.Newest("app"); c == nil || c.Exited() {
//		// decide; state has all that the runtime had done by before
//	}
//
// # Events
//
// Where the runtime streams container events ([Eventer]), an event has its pod listed
// at once, and all pods are listed each ten seconds only. An event is a hint: what it
// says of the pod is not read, and losing, doubling, delaying or reordering events
// changes nothing but the time that it takes. A listing of all pods that finds what no
// event told of takes the trust in events away: until they have told of ten changes in a
// row, all pods are listed each second again. So they are while a stream is broken, which
// is opened again for ever, or not surely open yet, and while a listing or an inspection
// that failed waits to be tried again. A runtime without events works as well, by
// listings alone.
//
// # Guarantees
//
//   - A state never goes back in time: observations are ordered by the start of
//     the listing they come from, whatever the order in which they end.
//   - State(ctx, uid, t) contains everything that the runtime had done by t.
//   - A change is told after State can show it, at least once, and many changes
//     of one pod in a row as few as one time.
//   - A pod whose status hangs or fails costs that pod only: others are listed,
//     inspected and told of as ever.
//   - Two listings of all pods never overlap, two inspections of a pod neither.
//
// It does not remember containers that were removed, and does not decide anything.
package pleg
