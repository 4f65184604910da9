//! What the plugin says of contracts that answer this and that, without WebAssembly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_erc1271::{LAG_SECONDS, LAG_SECONDS_MAX, Lag, Plugin, digest, question};
use mainstem_plugin_sdk::{
    Check, ContractAnswer, Failure, FailureCode, Origin, Scheme, Verdict,
    harness::{Capability, Harness, Item, Node, check},
};

const CONTRACT: [u8; 20] = [0xc0; 20];
const NOW: i64 = 1_750_000_000_000;

/// The magic value.
fn yes() -> Vec<u8> {
    [&[0x16, 0x26, 0xba, 0x7e][..], &[0; 28]].concat()
}

fn answer(output: Vec<u8>) -> ContractAnswer {
    ContractAnswer { output, reverted: false, block_number: 7, block_timestamp: NOW - 2_000_000 }
}

fn item(origin: &[u8], signature: &[u8]) -> Item {
    Item {
        header: vec![1; 203],
        batch_id: vec![2; 32],
        origin_type: 21,
        origin: origin.to_vec(),
        timestamp: NOW,
        signature: signature.to_vec(),
    }
}

fn harness(
    contracts: impl Fn(&[u8; 20], &[u8], i64) -> Result<ContractAnswer, Failure> + 'static,
) -> Harness<Plugin> {
    Harness::new(Node { contracts: Box::new(contracts), ..Node::default() })
}

/// The verdict on one item, of a contract that answers so.
fn said(answer: Result<ContractAnswer, Failure>) -> Verdict {
    let mut harness = harness(move |_, _, _| answer.clone());
    harness.verify(&[item(&CONTRACT, b"signed")]).unwrap()[0]
}

#[test]
fn a_contract_is_asked_about_the_digest_and_the_signature_at_a_time_before_the_event() {
    let mut harness = harness(|to, input, at| {
        assert_eq!((to, at), (&CONTRACT, NOW - 1_000 * i64::from(LAG_SECONDS)));
        assert_eq!(input, question(&digest(&[2; 32]), b"signed"));
        Ok(answer(yes()))
    });
    assert_eq!(harness.verify(&[item(&CONTRACT, b"signed")]).unwrap(), [Verdict::Valid]);
}

#[test]
fn the_call_data_is_that_of_the_contract_abi() {
    // Selector, digest, place of the bytes, their length, the bytes, zeros.
    let word = |byte: u8| [&[0; 31][..], &[byte]].concat();
    let signature = [7; 65];
    let expected =
        [&[0x16, 0x26, 0xba, 0x7e][..], &[9; 32], &word(0x40), &word(65), &signature, &[0; 31]].concat();
    assert_eq!(question(&[9; 32], &signature), expected);
    assert_eq!(question(&[9; 32], &[]).len(), 4 + 96);
    assert_eq!(question(&[9; 32], &[7; 64]).len(), 4 + 96 + 64);
}

#[test]
fn only_the_magic_value_in_a_word_of_its_own_is_a_yes() {
    assert_eq!(said(Ok(answer(yes()))), Verdict::Valid);
    assert_eq!(said(Ok(answer([yes(), vec![1; 32]].concat()))), Verdict::Valid);
    let mut dirty = yes();
    dirty[31] = 1;
    let right_aligned = [&[0; 28][..], &yes()[..4]].concat();
    // The identity precompile gives back what it is asked.
    let echo = question(&digest(&[2; 32]), b"signed");
    for output in
        [vec![], vec![0; 32], vec![1], yes()[..31].to_vec(), yes()[..4].to_vec(), dirty, right_aligned, echo]
    {
        assert_eq!(said(Ok(answer(output.clone()))), Verdict::Invalid, "{output:?}");
    }
    assert_eq!(said(Ok(ContractAnswer { reverted: true, ..answer(yes()) })), Verdict::Invalid);
}

#[test]
fn what_cannot_be_read_is_unavailable_and_never_invalid() {
    for code in [
        FailureCode::Unavailable,
        FailureCode::Denied,
        FailureCode::Limit,
        FailureCode::Internal,
        FailureCode::Unsupported,
        FailureCode::Malformed,
    ] {
        assert_eq!(said(Err(Failure::new(code, "not now"))), Verdict::Unavailable, "{}", code as u16);
    }
    let mut without = Harness::<Plugin>::new(Node { granted: vec![Capability::Crypto], ..Node::default() });
    assert_eq!(without.verify(&[item(&CONTRACT, b"")]).unwrap(), [Verdict::Unavailable]);
    let mut no_chain = Harness::<Plugin>::default();
    assert_eq!(no_chain.verify(&[item(&CONTRACT, b"")]).unwrap(), [Verdict::Unavailable]);
}

#[test]
fn what_no_contract_can_have_signed_is_invalid() {
    assert_eq!(said(Err(Failure::invalid("there was no chain"))), Verdict::Invalid);
    let mut harness = harness(|_, _, _| panic!("nobody is asked"));
    let mut early = item(&CONTRACT, b"");
    early.timestamp = 1_000;
    let before = Item { timestamp: i64::MIN, ..early.clone() };
    let items = [item(&[0xc0; 19], b""), item(&[0xc0; 32], b""), early, before];
    assert_eq!(harness.verify(&items).unwrap(), [Verdict::Invalid; 4]);
}

#[test]
fn each_item_is_judged_by_itself() {
    let mut harness = harness(|_, input, _| match input.len() {
        100 => Ok(answer(yes())),
        132 => Err(Failure::unavailable("later")),
        _ => Ok(answer(vec![])),
    });
    let items =
        [item(&CONTRACT, &[]), item(&CONTRACT, &[1]), item(&CONTRACT, &[1; 33]), item(&CONTRACT, &[])];
    let expected = [Verdict::Valid, Verdict::Unavailable, Verdict::Invalid, Verdict::Valid];
    assert_eq!(harness.verify(&items).unwrap(), expected);
}

#[test]
fn an_owner_signs_what_a_contract_asks_ecrecover_about() {
    // The first account of the well-known test mnemonic.
    let key = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let owner = "f39fd6e51aad88f6f4ce6ab8827279cfffb92266";
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let key = [&CONTRACT[..], &hex(key)].concat();
    let mut harness = Harness::<Plugin>::default();
    assert_eq!(harness.origin(&key).unwrap(), Origin { origin_type: 21, value: CONTRACT.to_vec() });
    let signature = harness.sign(&key, &[&[2; 32]]).unwrap().remove(0);
    let signed = Check { key: &hex(owner), message: &digest(&[2; 32]), signature: &signature };
    assert!(check(Scheme::EthereumAddress, signed.key, signed.message, signed.signature));
    for none in [&[][..], &key[..51], &[&key[..], &[0]].concat(), &[&CONTRACT[..], &[0; 32]].concat()] {
        assert_eq!(harness.origin(none).unwrap_err().code, FailureCode::Invalid);
        assert_eq!(harness.sign(none, &[]).unwrap_err().code, FailureCode::Invalid);
    }
}

#[test]
fn the_lag_is_what_the_module_was_configured_with() {
    let read = |text: &str| Lag::read(text.as_bytes());
    assert_eq!(read("").unwrap(), Lag::default());
    assert_eq!(Lag::default().before(NOW), Some(NOW - 1_800_000));
    assert_eq!(read("# at once\n lag_seconds = 0 # here\n").unwrap().before(NOW), Some(NOW));
    assert_eq!(read(&format!("lag_seconds={LAG_SECONDS_MAX}")).unwrap().before(604_800_001), Some(1));
    for none in [
        "lag_seconds",
        "lag = 1",
        "lag_seconds = -1",
        "lag_seconds = 604801",
        "lag_seconds = 1\nlag_seconds = 1",
        "\u{1}",
    ] {
        assert!(read(none).unwrap_err().to_string().contains("lag_seconds = 0 to 604800"), "{none}");
    }
}
