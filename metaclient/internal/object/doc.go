// Package object knows the API's rules for ConfigMaps and Secrets: what their keys
// may be (they become names of files), how large they may be, and what a Secret of
// each type must hold.
//
//	for _, err := range object.ValidateSecret(secret) {
//		fmt.Println(err.Field, err.ErrorBody()) // never a value
//	}
//
// It neither defaults nor changes what it is given, and no error of it repeats a
// value that an object holds.
package object
