package main

import (
	"runtime"
	"syscall"
	"unsafe"
)

// A set of cores, as the system has it: 1024 bits.
type cores [16]uint64

// pin keeps this goroutine on the core of that place among those that the process may use, if the system lets it. The
// goroutine's thread ends with it.
func pin(place int) {
	runtime.LockOSThread()
	var allowed cores
	if !affinity(syscall.SYS_SCHED_GETAFFINITY, &allowed) {
		return
	}
	for core := range len(allowed) * 64 {
		if allowed[core/64]>>(core%64)&1 == 0 {
			continue
		}
		if place == 0 {
			var only cores
			only[core/64] = 1 << (core % 64)
			affinity(syscall.SYS_SCHED_SETAFFINITY, &only)
			return
		}
		place--
	}
}

func affinity(call uintptr, set *cores) bool {
	_, _, failed := syscall.RawSyscall(call, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
	return failed == 0
}
