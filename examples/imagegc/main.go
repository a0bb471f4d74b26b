// Command imagegc keeps the disk of a node's images below a mark: the rooms cri and
// gc, alone. When -high percent of the disk are used it removes images that no container
// uses, least recently used first, until no more than -low are.
//
//	imagegc                                     # find the runtime, watch for ever
//	imagegc -high 70 -low 60 -max-age 720h      # and nothing that was idle for a month
//	imagegc -wanted nginx:1.27,app:v2           # what shall stay though nothing uses it yet
//	imagegc -once                               # one round, from cron; -min-age does not apply
//
// It asks the runtime which file system the images are on and measures that, so it
// must see the node's files. It does not know which image somebody is about to
// start: beside an agent that starts pods, let that agent do it (ImagesConfig.Unleased).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/gc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "imagegc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var cfg gc.ImagesConfig
	flags := flag.NewFlagSet("imagegc", flag.ContinueOnError)
	endpoint := flags.String("runtime", "", "CRI `endpoint` (unix:///path); default: the first well-known socket that answers")
	wanted := flags.String("wanted", "", "`images` that stay though no container uses them, with commas")
	once := flags.Bool("once", false, "do one round and end")
	flags.IntVar(&cfg.HighThresholdPercent, "high", 85, "`percent` of the disk that is used when images go")
	flags.IntVar(&cfg.LowThresholdPercent, "low", 0, "`percent` of the disk that is used at most after that (default 80, or 5 below -high)")
	flags.DurationVar(&cfg.MinAge, "min-age", 2*time.Minute, "`time` for which an image stays after it was first seen")
	flags.DurationVar(&cfg.MaxAge, "max-age", 0, "`time` for which an unused image stays with space to spare; 0 is for ever")
	flags.DurationVar(&cfg.Period, "period", 5*time.Second, "`time` between two rounds")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("want flags only, got %q", flags.Args())
	}
	logger, err := zap.NewProduction()
	if err != nil {
		return err
	}
	cfg.Logger = logger
	if *wanted != "" {
		cfg.Keep = strings.Split(*wanted, ",")
	}
	if *endpoint == "" {
		if *endpoint, err = cri.DetectEndpoint(ctx); err != nil {
			return err
		}
	}
	client, err := cri.Dial(ctx, *endpoint, cri.Config{Logger: logger})
	if err != nil {
		return err
	}
	defer client.Close(context.WithoutCancel(ctx))
	if *once {
		cfg.MinAge = -1 // whoever runs once has never seen an image before
		return gc.NewImages(client, cfg).Collect(ctx)
	}
	return gc.NewImages(client, cfg).Run(ctx)
}
