use mainstem_plugin_abi::configuration::MARK;
use std::hint::black_box;

/// Bytes in a module that `mainstem-plugin-build --configure` fills in after it was compiled, such as the roots that are trusted.
///
/// As they are in the module, its hash names them too: brokers with one id have one configuration and give one verdict.
///
/// ```
/// use mainstem_plugin_sdk::Configuration;
/// static ROOTS: Configuration<1024> = Configuration::empty();
/// assert_eq!(ROOTS.bytes(), b"");
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Configuration<const CAPACITY: usize> {
    mark: [u8; 32],
    capacity: [u8; 4],
    length: [u8; 4],
    bytes: [u8; CAPACITY],
}

impl<const CAPACITY: usize> Configuration<CAPACITY> {
    /// With nothing in it yet. For one `static` of a module.
    pub const fn empty() -> Self {
        Self { mark: *MARK, capacity: (CAPACITY as u32).to_le_bytes(), length: [0; 4], bytes: [0; CAPACITY] }
    }

    /// What was filled in.
    pub fn bytes(&'static self) -> &'static [u8] {
        // IMPORTANT: the compiler must not know what stands here, or it reckons with the nothing that it was compiled with. Without
        // a use of the mark it leaves that out.
        let this = black_box(self);
        black_box(&this.mark);
        let length = u32::from_le_bytes(this.length) as usize;
        &this.bytes[..length.min(CAPACITY)]
    }
}
