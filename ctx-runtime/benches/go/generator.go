package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

const generators = 100_000

func init() {
	for _, buffer := range []int{0, 1, 64, 1024} {
		enter(fmt.Sprintf("items_%d", buffer), func(times int) float64 {
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			return take(times, generate(ctx, buffer, numbers()))
		})
	}
	enter("items_channel", func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		return take(times, generate(ctx, 0, channel(ctx)))
	})
	enter("items_socket", func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		source, hangUp := socket()
		defer hangUp()
		return take(times, generate(ctx, 0, source))
	})
	works["items_pull"] = func(times int) float64 {
		next, stop := iter.Pull(counting)
		defer stop()
		return takeNext(times, next)
	}
	enter("pipeline", func(times int) float64 {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		items := generate(ctx, 0, numbers())
		for range 3 {
			items = generate(ctx, 0, stage(items))
		}
		return take(times, items)
	})
	enter("lifecycle", func(times int) float64 {
		parent, stop := context.WithCancel(context.Background())
		defer stop()
		return timed(times, func() {
			ctx, cancel := context.WithCancel(parent)
			items := generate(ctx, 0, numbers())
			for range 5 {
				sink += int(<-items)
			}
			cancel()
			// An item that was offered may come before the end.
			for range items {
			}
		})
	})
	works["cancel_generators"] = func(times int) float64 {
		ctx, cancel := context.WithCancel(context.Background())
		var alive sync.WaitGroup
		kept := make([]<-chan uint64, generators)
		for i := range kept {
			alive.Add(1)
			kept[i] = generateThen(ctx, 0, numbers(), alive.Done)
			sink += int(<-kept[i])
		}
		// What making them has left behind is not to be cleaned up while the clock runs.
		runtime.GC()
		took := timed(times, func() {
			cancel()
			alive.Wait()
		})
		runtime.KeepAlive(kept)
		return took
	}
	works["resident"] = func(times int) float64 { return growth(times, true) }
	works["resident_unasked"] = func(times int) float64 { return growth(times, false) }
}

// enter enters a work, and the same on one core.
func enter(name string, do work) {
	works[name] = do
	works[name+"_one_core"] = func(times int) float64 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		return do(times)
	}
}

// generate is a generator as Go has it: a goroutine that selects on its context around each send.
func generate(ctx context.Context, buffer int, source func() (uint64, bool)) <-chan uint64 {
	return generateThen(ctx, buffer, source, func() {})
}

func generateThen(ctx context.Context, buffer int, source func() (uint64, bool), ended func()) <-chan uint64 {
	items := make(chan uint64, buffer)
	go func() {
		defer ended()
		defer close(items)
		for {
			item, ok := source()
			if !ok {
				return
			}
			select {
			case items <- item:
			case <-ctx.Done():
				return
			}
		}
	}()
	return items
}

// take is how long it takes to take so many items. It is under way before the clock is looked at.
func take(times int, items <-chan uint64) float64 {
	sink += int(<-items)
	start := time.Now()
	for range times {
		sink += int(<-items)
	}
	return float64(time.Since(start).Nanoseconds())
}

// counting is numbers as an iterator that calls back.
func counting(yield func(uint64) bool) {
	for n := uint64(1); yield(n); n++ {
	}
}

// takeNext is take, from an iterator that is pulled.
func takeNext(times int, next func() (uint64, bool)) float64 {
	item, _ := next()
	sink += int(item)
	start := time.Now()
	for range times {
		item, _ := next()
		sink += int(item)
	}
	return float64(time.Since(start).Nanoseconds())
}

func numbers() func() (uint64, bool) {
	var n uint64
	return func() (uint64, bool) {
		n++
		return n, true
	}
}

// stage makes items of another generator's, each one up.
func stage(items <-chan uint64) func() (uint64, bool) {
	return func() (uint64, bool) {
		item, ok := <-items
		return item + 1, ok
	}
}

// channel is two channels: a goroutine at the other end answers each question when it was asked.
func channel(ctx context.Context) func() (uint64, bool) {
	questions, answers := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		for {
			select {
			case question := <-questions:
				answers <- question
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() (uint64, bool) {
		questions <- 1
		select {
		case answer := <-answers:
			return answer, true
		case <-ctx.Done():
			return 0, false
		}
	}
}

// socket is a connection on the loopback device: a goroutine at the other end sends back each eight bytes.
func socket() (source func() (uint64, bool), hangUp func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	there, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	go func() {
		defer there.Close()
		question := make([]byte, 8)
		for {
			if _, err := io.ReadFull(there, question); err != nil {
				return
			}
			if _, err := there.Write(question); err != nil {
				return
			}
		}
	}()
	question, answer := make([]byte, 8), make([]byte, 8)
	binary.BigEndian.PutUint64(question, 1)
	source = func() (uint64, bool) {
		if _, err := here.Write(question); err != nil {
			return 0, false
		}
		if _, err := io.ReadFull(here, answer); err != nil {
			return 0, false
		}
		return binary.BigEndian.Uint64(answer), true
	}
	return source, func() { here.Close() }
}

// growth is by how many bytes the process grows with so many generators, after a collection.
func growth(times int, asked bool) float64 {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	create := func() <-chan uint64 {
		items := generate(ctx, 0, numbers())
		if asked {
			sink += int(<-items)
		}
		return items
	}
	first := create()
	runtime.GC()
	before := resident()
	kept := make([]<-chan uint64, times)
	for i := range kept {
		kept[i] = create()
	}
	// Enough for each to have come to its first send.
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	after := resident()
	runtime.KeepAlive(first)
	runtime.KeepAlive(kept)
	return after - before
}

// resident is what of this process is in memory, in bytes.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			return kilobytes * 1024
		}
	}
	panic("no VmRSS in /proc/self/status")
}
