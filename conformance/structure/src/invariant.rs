/// The invariants that a text states, each with the files it names: `a/b.rs`, or `a/{b,c}.rs` for two.
pub fn invariants(text: &str) -> Vec<(&str, Vec<String>)> {
    let starts = text.match_indices("**Invariant:**").map(|(at, _)| &text[at..]);
    starts
        .map(|from| {
            let rest = from.strip_prefix("**Invariant:**").unwrap_or(from);
            let next = rest.find("**Invariant:**").unwrap_or(rest.len());
            let paragraph = rest.find("\n\n").unwrap_or(rest.len());
            let statement = rest[..next.min(paragraph)].trim();
            let quoted = statement.split('`').skip(1).step_by(2);
            (statement, quoted.filter(|quoted| quoted.contains('/')).flat_map(expanded).collect())
        })
        .collect()
}

fn expanded(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        None => vec![path.to_owned()],
        Some((before, (names, after))) => {
            names.split(',').map(|name| format!("{before}{name}{after}")).collect()
        }
    }
}

/// Whether a file has tests, of Rust or of Solidity.
pub fn has_tests(text: &str) -> bool {
    ["#[test]", "#[tokio::test", "compile_fail", "function test", "function invariant_"]
        .iter()
        .any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_ends_at_the_next_one_or_at_an_empty_line() {
        let text =
            "a\n**Invariant:** `x` holds (`a/b.rs`,\n`c/{d,e}.rs`).\n**Invariant:** y.\n\nand `f/g.rs`";
        let found = invariants(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].1, ["a/b.rs", "c/d.rs", "c/e.rs"]);
        assert_eq!(found[1], ("y.", Vec::new()));
    }

    #[test]
    fn a_file_has_tests_in_rust_or_in_solidity() {
        assert!(has_tests("#[tokio::test(start_paused = true)]"));
        assert!(has_tests("    function invariant_sum() public {"));
        assert!(!has_tests("fn main() {}"));
    }
}
