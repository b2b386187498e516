// The peers in Go. Reads lines of a name and a number, does that piece of work so many times, and answers with a
// line: what that took, in nanoseconds, allocations or bytes.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"time"
)

// Does something so many times, and returns what it took.
type work func(times int) float64

var works = map[string]work{}

func main() {
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var name string
		var times int
		if _, err := fmt.Sscan(requests.Text(), &name, &times); err != nil {
			fmt.Println(err)
			continue
		}
		do, ok := works[name]
		if !ok {
			fmt.Println("there is no such work")
			continue
		}
		fmt.Println(do(times))
	}
}

// timed is how long once takes, times times, in nanoseconds.
func timed(times int, once func()) float64 {
	start := time.Now()
	for range times {
		once()
	}
	return float64(time.Since(start).Nanoseconds())
}

// allocations is how many allocations once makes, times times.
func allocations(times int, once func()) float64 {
	before := memory().Mallocs
	for range times {
		once()
	}
	return float64(memory().Mallocs - before)
}

// bytes is what times of what is made take on the heap, all alive at once.
func bytes[T any](times int, create func() T) float64 {
	kept := make([]T, times)
	runtime.GC()
	before := memory().HeapAlloc
	for i := range kept {
		kept[i] = create()
	}
	runtime.GC()
	after := memory().HeapAlloc
	runtime.KeepAlive(kept)
	return float64(after) - float64(before)
}

func memory() *runtime.MemStats {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return &stats
}
