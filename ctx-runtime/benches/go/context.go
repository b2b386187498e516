package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// Far enough not to pass while it is measured.
const far = time.Hour

const children = 100_000

// Where results go that the compiler must not leave out.
var sink int

func init() {
	works["child"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return timed(times, func() { makeAndCancel(parent) })
	}
	works["child_two_threads"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return timedTwoThreads(times, func() { makeAndCancel(parent) })
	}
	works["is_done"] = func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		return timeErr(times, ctx)
	}
	works["is_done_deadline"] = func(times int) float64 {
		ctx, stop := context.WithTimeout(context.Background(), far)
		defer stop()
		return timeErr(times, ctx)
	}
	works["cancel_many"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		kept := make([]context.Context, children)
		stops := make([]context.CancelFunc, children)
		for i := range kept {
			kept[i], stops[i] = context.WithCancel(parent)
		}
		// What making them has left behind is not to be cleaned up while the clock runs.
		runtime.GC()
		took := timed(times, stop)
		runtime.KeepAlive(kept)
		runtime.KeepAlive(stops)
		return took
	}
	works["timeout"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return timed(times, func() {
			_, cancel := context.WithTimeout(parent, far)
			cancel()
		})
	}
	works["timeout_wait"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return timed(times, func() {
			ctx, cancel := context.WithTimeout(parent, far)
			look(ctx)
			cancel()
			<-ctx.Done()
		})
	}
	works["wait"] = func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		return timed(times, func() { look(ctx) })
	}
	works["merge"] = func(times int) float64 {
		one, stopOne := context.WithCancel(context.Background())
		defer stopOne()
		other, stopOther := context.WithCancel(context.Background())
		defer stopOther()
		// As the documentation of AfterFunc has it.
		return timed(times, func() {
			ctx, cancel := context.WithCancelCause(one)
			stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
			stop()
			cancel(nil)
			runtime.KeepAlive(ctx)
		})
	}
	works["after_func"] = func(times int) float64 {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		captured := 1
		return timed(times, func() {
			captured++
			mine := captured
			stop := context.AfterFunc(ctx, func() { sink += mine })
			if !stop() {
				panic("it has run")
			}
		})
	}
	works["value"] = func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		type first struct{}
		type second struct{}
		type third struct{}
		type fourth struct{}
		ctx = context.WithValue(ctx, first{}, 1)
		ctx = context.WithValue(ctx, second{}, 2)
		ctx = context.WithValue(ctx, third{}, 3)
		ctx = context.WithValue(ctx, fourth{}, 4)
		return timed(times, func() { sink += ctx.Value(first{}).(int) })
	}

	works["child_allocations"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return allocations(times, func() { makeAndCancel(parent) })
	}
	works["read_allocations"] = func(times int) float64 {
		return allocations(times, func() {
			ctx, stop := context.WithCancel(context.Background())
			look(ctx)
			stop()
		}) - allocations(times, func() {
			_, stop := context.WithCancel(context.Background())
			stop()
		})
	}
	works["timeout_allocations"] = func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return allocations(times, func() {
			_, cancel := context.WithTimeout(parent, far)
			cancel()
		})
	}
	works["child_bytes"] = func(times int) float64 {
		type kept struct {
			ctx    context.Context
			cancel context.CancelFunc
		}
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return bytes(times, func() kept {
			ctx, cancel := context.WithCancel(parent)
			return kept{ctx, cancel}
		})
	}
}

func makeAndCancel(parent context.Context) {
	_, cancel := context.WithCancel(parent)
	cancel()
}

// look is what waits in Go before it blocks.
func look(ctx context.Context) {
	select {
	case <-ctx.Done():
		sink++
	default:
	}
}

func timeErr(times int, ctx context.Context) float64 {
	start := time.Now()
	for range times {
		if ctx.Err() != nil {
			sink++
		}
	}
	return float64(time.Since(start).Nanoseconds())
}

// timedTwoThreads is how long once takes, times times on each of two threads that do it at once; the mean of the two.
func timedTwoThreads(times int, once func()) float64 {
	var ready, busy atomic.Int32
	busy.Store(2)
	took := make(chan float64)
	each := func(place int) {
		pin(place)
		ready.Add(1)
		for ready.Load() < 2 {
			runtime.Gosched()
		}
		elapsed := timed(times, once)
		busy.Add(-1)
		// The other one is not to have it easier towards its end.
		for busy.Load() > 0 {
			once()
		}
		took <- elapsed
	}
	go each(0)
	go each(1)
	return (<-took + <-took) / 2
}
