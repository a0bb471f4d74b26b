// Package metatest is for those who test against metaclient: a control plane in
// memory, and a suite that any metaclient.Upstream has to pass.
//
//	cloud := metatest.New()
//	cloud.Put(pod, configMap, secret)
//	meta, err := metaclient.Open(path, cloud, metaclient.Config{})
//	...
//	cloud.Cut()                       // the network is gone: Watch fails, questions are ErrOffline
//	cloud.Put(changedSecret)
//	cloud.Heal()
//	cloud.Asked(ref)                  // how often it was asked for the secret
//	cloud.Status(pod.UID)             // what the node reported
//
//	func TestMyUpstream(t *testing.T) {
//		metatest.Conform(t, func(t *testing.T) metatest.World { return newMyWorld(t) })
//	}
//
// Cloud delivers at once, or late (Delay), in any order and repeatedly (Unruly); it
// can stop answering (Hang). All of it works in a testing/synctest bubble. Cloud
// passes the suite itself.
package metatest
