//go:build !csi

package main

import "github.com/edged-project/edged/volume"

func (a *agent) useCSI(options) []volume.Plugin { return nil }
