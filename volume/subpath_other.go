//go:build !linux

package volume

import (
	"errors"
	"os"
)

const openHandle = os.O_RDONLY

func bind(*os.File, string) error { return errors.New("sub paths need Linux") }

func unbind(string) error { return errors.New("sub paths need Linux") }
