/// Percent-encodes all but letters, digits and `-._~`, as AWS's signatures want it.
pub fn encode(text: &str) -> String {
    encode_all_but(text, |_| false)
}

/// The same for a path, which keeps its slashes.
pub fn encode_path(path: &str) -> String {
    encode_all_but(path, |byte| byte == b'/')
}

fn encode_all_but(text: &str, kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || kept(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
