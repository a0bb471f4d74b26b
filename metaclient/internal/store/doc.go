// Package store keeps small values in a bbolt file so that a power cut, a full disk
// or bad flash costs as little as it can.
//
//	s, err := store.Open(path, store.Config{Buckets: []store.Bucket{{Name: "pods"}, {Name: "secrets", Secret: true}}, Key: key})
//	changed, err := s.Update(func(r store.Reader) []store.Change {
//		return []store.Change{{Bucket: "pods", Key: "uid", Value: value}}
//	})
//	err = s.View(func(r store.Reader) error { value = bytes.Clone(r.Get("pods", "uid")); return nil })
//
// Updates are durable when they return, all or nothing, write only what changes,
// and share commits when they come at the same time. Each value lies behind a
// checksum, values of secret buckets sealed if there is a key. Opening a file never
// panics: it is walked with every number doubted before bbolt may touch it (see
// verify.go), damaged values are set aside one by one, a damaged file as a whole,
// and the copy that each opening makes of a sound file (<path>.good) then takes its
// place. A file with much free space is compacted when it is opened.
//
// It does not know what the values mean, and repairs nothing: what was set aside
// stays for people to look at.
package store
