// Runs one call of the library BuildKit uses for its cache of type gha:
//
//	client save KEY FILE
//	client load FILE KEY...
//	client mutate KEY TEXT
//
// The environment is the runner's. It prints what happened as one word and, for a hit, the key.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	actionscache "github.com/tonistiigi/go-actions-cache"
)

type fileBlob struct{ *os.File }

func (b fileBlob) Size() int64 {
	info, err := b.Stat()
	if err != nil {
		panic(err)
	}
	return info.Size()
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil {
		if errors.Is(err, os.ErrExist) {
			fmt.Println("exists")
			return
		}
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, call string, args []string) error {
	cache, err := actionscache.TryEnv(actionscache.Opt{Timeout: time.Minute})
	if err != nil {
		return err
	}
	if cache == nil {
		return errors.New("the environment names no cache")
	}
	switch call {
	case "save":
		file, err := os.Open(args[1])
		if err != nil {
			return err
		}
		if err := cache.Save(ctx, args[0], fileBlob{file}); err != nil {
			return err
		}
		fmt.Println("saved")
		return nil
	case "load":
		entry, err := cache.Load(ctx, args[1:]...)
		if err != nil {
			return err
		}
		if entry == nil {
			fmt.Println("miss")
			return nil
		}
		file, err := os.Create(args[0])
		if err != nil {
			return err
		}
		if err := entry.WriteTo(ctx, file); err != nil {
			return err
		}
		fmt.Println("hit", entry.Key)
		return file.Close()
	case "mutate":
		err := cache.SaveMutable(ctx, args[0], 10*time.Second, func(*actionscache.Entry) (actionscache.Blob, error) {
			return actionscache.NewBlob([]byte(args[1])), nil
		})
		if err == nil {
			fmt.Println("saved")
		}
		return err
	}
	return fmt.Errorf("unknown call %s", call)
}
