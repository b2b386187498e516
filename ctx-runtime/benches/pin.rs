//! Keeps a thread on one core, so that two that are to meet do not take turns on the same.
#![allow(unsafe_code, reason = "the system's calls are")]

use std::mem;

/// Keeps this thread on the core of that place among those that the process may use, if the system lets it.
pub(crate) fn to_core(place: usize) {
    // SAFETY: a set of bits; all zero is the empty one.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: 0 is this thread, and the size is the set's.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&allowed), &raw mut allowed) } != 0 {
        return;
    }
    // SAFETY: the core's number is within the set.
    let mut cores =
        (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &allowed) });
    let Some(core) = cores.nth(place) else { return };
    // SAFETY: as above.
    let mut only: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(core, &mut only) };
    // SAFETY: as above. A failure leaves the thread where it is.
    unsafe { libc::sched_setaffinity(0, mem::size_of_val(&only), &raw const only) };
}
