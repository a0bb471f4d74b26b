//go:build csi

package main

import (
	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

// useCSI serves volumes by the CSI drivers that register below the root. They are half
// a megabyte that few boards have a use for: see nocsi.go. What the cluster's
// CSIDriver objects would say of a driver is the default.
func (a *agent) useCSI(opts options) []volume.Plugin {
	drivers := csi.New(csi.Config{Root: opts.root, NodeName: opts.nodeName, Secrets: a.store, Changed: a.wakeAll, Logger: a.logger})
	a.more = append(a.more, drivers.Run)
	return []volume.Plugin{drivers}
}

// wakeAll has every pod look again: a driver has come or gone.
func (a *agent) wakeAll() {
	for _, pod := range a.pods.Pods() {
		a.pods.Wake(pod.UID)
	}
}
