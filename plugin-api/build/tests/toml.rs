//! What may stand in a `plugin.toml`, and what is said of the rest.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::{ABI, Capability, Claim, ColumnType, Limits};
use mainstem_plugin_build::parse;

const SIGNATURE: &str = r#"
name = "ed25519"
version = "0.1.0"
description = "Ed25519 signatures, by the key that is the origin"
abi = "1.1"
capabilities = ["crypto"]

[signature]
type = 17
origin_types = [17]
signs = true
"#;

const OPERATOR: &str = r#"
name = "filter"
version = "0.1.0"
description = "Rows above a threshold"
abi = "1.1"

[[operator]]
name = "filter"
description = "Rows whose value is above a threshold"
inputs = [{ name = "in", columns = [{ name = "value", type = "float64" }] }]
outputs = [{ name = "out", columns = [{ name = "value", type = "float64" }] }]
parameters = [{ name = "above", description = "Rows with more than this pass", type = "float64", default = "0" }]

[limits]
memory_bytes = 1048576
deadline_ms = 50
"#;

fn fault(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn both_kinds_are_read_as_the_page_shows_them() {
    let manifest = parse(SIGNATURE).unwrap();
    assert_eq!((manifest.abi, manifest.abi_minor_least), (ABI, 0));
    assert_eq!(manifest.capabilities, [Capability::Crypto]);
    let Claim::Signature(claim) = manifest.claim else { panic!("it is for signatures") };
    assert_eq!((claim.signature_type, claim.origin_types, claim.signs), (17, vec![17], true));

    let manifest = parse(OPERATOR).unwrap();
    assert_eq!(manifest.limits, Limits { memory_bytes: 1 << 20, fuel: 0, deadline_ms: 50 });
    let Claim::Operators(claims) = manifest.claim else { panic!("it is an operator") };
    assert_eq!(claims[0].inputs[0].columns[0].column_type, ColumnType::Float64);
    assert_eq!(claims[0].parameters[0].default, "0");
}

#[test]
fn a_key_that_is_unknown_or_missing_is_named() {
    assert!(fault(SIGNATURE, "signs =", "sings =").contains("unknown field `sings`"));
    assert!(fault(SIGNATURE, "type =", "kind =").contains("unknown field `kind`"));
    assert!(fault(SIGNATURE, "version =", "#").contains("missing field `version`"));
    assert!(fault(OPERATOR, "deadline_ms", "deadline").contains("unknown field `deadline`"));
    assert!(fault(OPERATOR, "abi =", "abi = \"1.0\"\nabi =").contains("duplicate key"));
}

#[test]
fn a_value_that_cannot_be_is_told_with_what_can() {
    for (text, from, to, said) in [
        (SIGNATURE, "\"1.1\"", "\"one\"", "abi in plugin.toml is \"one\""),
        (SIGNATURE, "[\"crypto\"]", "[\"files\"]", "\"files\" is no capability; there are crypto, clock"),
        (SIGNATURE, "type = 17", "type = 300", "300"),
        (SIGNATURE, "type = 17", "type = 2", "signature.type is 2: types below 16"),
        (SIGNATURE, "[17]", "[]", "signature.origin_types has 0 entries"),
        (OPERATOR, "\"float64\"", "\"float\"", "\"float\" is no type of a column; there are int64"),
        (
            OPERATOR,
            "default = \"0\"",
            "default = \"x\"",
            "filter's parameter above is \"x\"; it must be a number",
        ),
        (OPERATOR, "name = \"filter\"", "name = \"Filter\"", "\"Filter\" is no name"),
    ] {
        let fault = fault(text, from, to);
        assert!(fault.contains(said), "{fault}");
    }
}

#[test]
fn it_is_one_kind_and_not_both() {
    let neither = SIGNATURE.split("[signature]").next().unwrap();
    assert!(parse(neither).unwrap_err().to_string().contains("has none of these"));
    let both = format!("{OPERATOR}\n[signature]\ntype = 17\norigin_types = [17]\n");
    assert!(parse(&both).unwrap_err().to_string().contains("both signature and operator"));
}
