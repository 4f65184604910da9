//! Where memory comes from: jemalloc. The store gives back tens of thousands of rows at a time, when it has written a table out; the C library's
//! allocator then takes some 70 ms for what it had put off, and nothing is appended meanwhile (`mainstem bench --only misbehaving` for some
//! minutes: the longest waits for an ack).

use std::ptr;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Pages that nothing is in go back to the system after a second and not after ten: an idle node has 35 MB, and not 90. One thread sees to it,
/// for all arenas.
#[expect(unsafe_code, reason = "jemalloc looks for its settings under this name")]
// SAFETY: nothing else in the program has this name, and jemalloc only reads it, up to the zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 45] = b"dirty_decay_ms:1000,max_background_threads:1\0";

/// Gives pages that nothing is in back to the system at once, so that what the process holds is what is in use. True if that is done.
#[expect(unsafe_code, reason = "jemalloc is asked by a function of C")]
pub(crate) fn give_back() -> bool {
    // Number 4096 stands for all arenas (jemalloc(3), MALLCTL_ARENAS_ALL).
    let name = c"arena.4096.purge";
    // SAFETY: the name ends with a zero byte, and this control neither takes nor gives a value.
    let done = unsafe {
        tikv_jemalloc_sys::mallctl(name.as_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0)
    };
    done == 0
}
