//! The border between a module and its node: the one place where memory is named by address. For the macros alone.

use std::alloc::{Layout, alloc as allocate, dealloc};

/// Messages begin at multiples of this.
const ALIGN: usize = 8;

/// What `mainstem_abi` returns.
pub const ABI: u32 = mainstem_plugin_abi::ABI.to_u32();

/// What `mainstem_alloc` does: `len` bytes at a multiple of 8, or null if there are none.
#[expect(unsafe_code, reason = "the allocator takes and gives addresses")]
pub fn alloc(len: u32) -> *mut u8 {
    let Some(layout) = layout(len) else { return std::ptr::null_mut() };
    // SAFETY: `layout` is not of size 0.
    unsafe { allocate(layout) }
}

/// What `mainstem_free` does.
///
/// # Safety
/// `ptr` is what [`alloc`] gave for the same `len`, and is given back once.
#[expect(unsafe_code, reason = "the allocator takes and gives addresses")]
pub unsafe fn free(ptr: *mut u8, len: u32) {
    if let (false, Some(layout)) = (ptr.is_null(), layout(len)) {
        // SAFETY: by this function's own contract it came from `alloc`, which takes the same layout.
        unsafe { dealloc(ptr, layout) }
    }
}

/// Of no bytes there is no layout that may be asked for, so they are 8.
fn layout(len: u32) -> Option<Layout> {
    Layout::from_size_align((len as usize).max(ALIGN), ALIGN).ok()
}

#[cfg(target_arch = "wasm32")]
pub use module::call;

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "requests and replies are told by address")]
mod module {
    use super::{ALIGN, alloc, free};
    use crate::{Host, HostCalls, Instance};
    use mainstem_plugin_abi::Place;
    use std::{cell::RefCell, slice, thread::LocalKey};

    #[link(wasm_import_module = "mainstem")]
    unsafe extern "C" {
        fn host_call(ptr: *const u8, len: u32) -> u64;
    }

    thread_local! {
        /// Kept until the next call, as the node reads it after this one has returned.
        static REPLY: RefCell<Reply> = const { RefCell::new(Reply::Vec(Vec::new())) };
    }

    /// What `mainstem_call` does.
    ///
    /// # Safety
    /// `len` bytes at `ptr` were written by the node and stay as they are until this returns.
    pub unsafe fn call<P: Instance>(
        instance: &'static LocalKey<RefCell<P>>,
        ptr: *const u8,
        len: u32,
    ) -> u64 {
        // SAFETY: by this function's own contract.
        let request = unsafe { slice::from_raw_parts(ptr, len as usize) };
        let reply = instance.with_borrow_mut(|instance| instance.handle(&Host::new(&Node), request));
        REPLY.replace(Reply::at_multiple_of_8(reply));
        REPLY.with_borrow(Reply::place).to_u64()
    }

    struct Node;

    impl HostCalls for Node {
        fn call(&self, request: &[u8], read: &mut dyn FnMut(&[u8])) {
            // SAFETY: the node reads the request, and writes only into memory that it gets from `mainstem_alloc`.
            let place = Place::from_u64(unsafe { host_call(request.as_ptr(), request.len() as u32) });
            // SAFETY: the node has written the reply there and leaves it until the next `host_call`, which `read` cannot make:
            // it is given nothing that could.
            read(unsafe { slice::from_raw_parts(place.ptr as *const u8, place.len as usize) });
        }
    }

    enum Reply {
        Vec(Vec<u8>),
        Copy { ptr: *mut u8, len: u32 },
    }

    impl Reply {
        /// Allocators give such addresses anyway, so it is copied hardly ever.
        fn at_multiple_of_8(bytes: Vec<u8>) -> Self {
            if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
                return Self::Vec(bytes);
            }
            let len = bytes.len() as u32;
            let ptr = alloc(len);
            assert!(!ptr.is_null(), "there is memory for a reply");
            // SAFETY: `alloc` gave at least `len` bytes, and nobody else has them.
            unsafe { ptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            Self::Copy { ptr, len }
        }

        fn place(&self) -> Place {
            match self {
                Self::Vec(bytes) => Place { ptr: bytes.as_ptr().addr() as u32, len: bytes.len() as u32 },
                Self::Copy { ptr, len } => Place { ptr: ptr.addr() as u32, len: *len },
            }
        }
    }

    impl Drop for Reply {
        fn drop(&mut self) {
            if let Self::Copy { ptr, len } = self {
                // SAFETY: it came from `alloc` with the same length, and goes once.
                unsafe { free(*ptr, *len) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "what was allocated is given back")]
    fn every_length_is_given_at_a_multiple_of_8_and_taken_back() {
        for len in [0, 1, 7, 8, 9, 4_096, 1 << 20] {
            let ptr = alloc(len);
            assert!(!ptr.is_null() && ptr.addr().is_multiple_of(8), "{len}");
            // SAFETY: it was just given for the same length.
            unsafe { free(ptr, len) };
        }
    }
}
