use mainstem_plugin_abi::limits::TEXT_BYTES_MAX;

/// Text that a stranger wrote, or that holds what one wrote, for people: its first 1,024 bytes as one line, in which nothing steers a
/// terminal. What is not UTF-8 is replaced by U+FFFD.
pub(crate) fn sentence(bytes: &[u8]) -> String {
    let mut sentence = String::new();
    // A few more, so that no character is cut in two.
    for c in String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX + 3)]).chars() {
        if sentence.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        sentence.push(if c.is_control() { ' ' } else { c });
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_one_line_of_whole_characters_and_no_longer_than_its_bound() {
        assert_eq!(sentence(b"one\ntwo\x1b[2J"), "one two [2J");
        assert_eq!(sentence(&[b'a', 0xff, b'b']), "a\u{fffd}b");
        assert_eq!(sentence("€".repeat(1_000).as_bytes()), "€".repeat(341));
        assert_eq!(sentence(&[b'a'; 5_000]).len(), 1_024);
        assert!(sentence(&[0xff; 5_000]).len() <= 1_024);
    }
}
