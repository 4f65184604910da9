use super::{Finding, Noise, finding};
use crate::{CallError, Plugin};
use mainstem_model::{OpenFault, Plain, Sealed, limits};
use mainstem_plugin_abi::EncryptionClaim;

/// The longest content that a client seals.
const LONGEST: usize = limits::CONTENT_BYTES_MAX - 16 - limits::SEAL_BYTES_MAX;
/// Lengths of contents that are sealed in one call: none, one byte, around the blocks of ciphers, more.
const LENGTHS: [usize; 12] = [0, 1, 15, 16, 17, 31, 32, 63, 64, 65, 1_000, 20_000];
/// Bytes that a content is bound to, as clients have them.
const ASSOCIATED: usize = 134;

struct Item {
    nonce: [u8; 32],
    associated: Vec<u8>,
    content: Vec<u8>,
}

impl Item {
    fn plain(&self) -> Plain<'_> {
        Plain { nonce: self.nonce, associated: &self.associated, content: &self.content }
    }
}

pub(super) fn findings(plugin: &Plugin, claim: &EncryptionClaim) -> Vec<Finding> {
    let mut noise = Noise(0x6d61_696e_7374_656d);
    let key = noise.bytes(claim.key_bytes.into());
    let items: Vec<_> = LENGTHS.iter().map(|length| item(&mut noise, *length)).collect();
    let plain: Vec<_> = items.iter().map(Item::plain).collect();
    let seal = |key: &[u8], items: &[Plain<'_>]| plugin.seal(key, items).map_err(|error| error.to_string());
    let open = |key: &[u8], items: &[Sealed<'_>]| plugin.open(key, items).map_err(|error| error.to_string());
    let mut findings = vec![
        finding("of an empty list nothing is sealed", seal(&key, &[]).map(drop)),
        finding("of an empty list nothing is opened", open(&key, &[]).map(drop)),
    ];
    let sealed = seal(&key, &plain);
    findings.push(finding("contents of many lengths are sealed in one call", sealed.clone().map(drop)));
    let Ok(sealed) = sealed else { return findings };

    let whole: Vec<_> = items.iter().zip(&sealed).map(|(item, sealed)| of(item, sealed)).collect();
    let expected: Vec<_> = items.iter().map(|item| Ok(item.content.clone())).collect();
    let same = |found: Vec<_>, expected: &[_]| {
        let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
        differs.map_or(Ok(()), |at| Err(format!("content {at} is another one, or does not open")))
    };
    let opened = open(&key, &whole).and_then(|found| same(found, &expected));
    findings.push(finding("what was sealed opens again", opened));
    let again = seal(&key, &plain).and_then(|again| differs(&again, &sealed));
    findings.push(finding("the same calls give the same replies", again));
    let reversed = || {
        let plain: Vec<_> = plain.iter().rev().copied().collect();
        let expected: Vec<_> = sealed.iter().rev().cloned().collect();
        differs(&seal(&key, &plain)?, &expected)?;
        let (whole, expected): (Vec<_>, Vec<_>) =
            whole.iter().copied().zip(expected_of(&items)).rev().unzip();
        same(open(&key, &whole)?, &expected)
    };
    findings.push(finding("nothing depends on the order of items", reversed()));
    let alone = plain
        .iter()
        .zip(&sealed)
        .try_for_each(|(item, expected)| differs(&seal(&key, &[*item])?, std::slice::from_ref(expected)));
    findings.push(finding("an item alone is sealed as it is among others", alone));
    let hidden = items.iter().zip(&sealed).filter(|(item, _)| item.content.len() >= 15);
    let shows = hidden
        .clone()
        .any(|(item, sealed)| sealed.windows(item.content.len()).any(|window| window == item.content));
    let secret = if shows { Err("a content stands in what was sealed".into()) } else { Ok(()) };
    findings.push(finding("what was sealed does not show the content", secret));
    let other_nonce = || {
        let other = Plain { nonce: [0x5a; 32], ..plain[10] };
        if seal(&key, &[other])?[0] == sealed[10] { Err("it is the same".to_owned()) } else { Ok(()) }
    };
    findings.push(finding("with another nonce it is sealed otherwise", other_nonce()));

    findings
        .push(finding("a changed bit of what was sealed is forged", changed(plugin, &key, &items, &sealed)));
    let bound = || {
        for bit in [0, 8 * ASSOCIATED / 2, 8 * ASSOCIATED - 1] {
            let mut associated = items[10].associated.clone();
            flip(&mut associated, bit);
            let item = Sealed { associated: &associated, sealed: &sealed[10] };
            forged(&open(&key, &[item])?, &format!("bit {bit}"))?;
        }
        let item = Sealed { associated: &[], sealed: &sealed[10] };
        forged(&open(&key, &[item])?, "without associated bytes")
    };
    findings.push(finding("a changed bit of the associated bytes is forged", bound()));
    let other_key = || {
        for bit in [0, 4 * key.len(), 8 * key.len() - 1] {
            let mut key = key.clone();
            flip(&mut key, bit);
            forged(&open(&key, &whole[10..11])?, &format!("bit {bit}"))?;
        }
        Ok(())
    };
    findings.push(finding("a changed bit of the key is forged", other_key()));
    let short = || {
        for length in 0..sealed[1].len() {
            let item = Sealed { associated: &items[1].associated, sealed: &sealed[1][..length] };
            if open(&key, &[item])?[0].is_ok() {
                return Err(format!("the first {length} bytes open"));
            }
        }
        Ok(())
    };
    findings.push(finding("what was cut short does not open", short()));
    let longest = || {
        let item = item(&mut Noise(7), LONGEST);
        let sealed = seal(&key, &[item.plain()])?;
        same(open(&key, &[of(&item, &sealed[0])])?, &[Ok(item.content.clone())])
    };
    findings.push(finding(format!("{LONGEST} bytes are sealed and opened"), longest()));
    if claim.wraps {
        findings.extend(wrapping(plugin, &key));
    }
    findings
}

fn wrapping(plugin: &Plugin, key: &[u8]) -> [Finding; 3] {
    let refused = |answer: Result<(), CallError>| match answer {
        Err(CallError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it took it".into()),
    };
    let none = plugin.wrap(key, &[], &[]).map(drop).map_err(|error| error.to_string());
    let empty = plugin.wrap(key, &[&[]], &[7; 32]).map(drop);
    let noise = Noise(3).bytes(100);
    [
        finding("for no recipients nothing is wrapped", none),
        finding("an empty public key is refused", refused(empty)),
        finding("what nobody wrapped is refused", refused(plugin.unwrap(&[7; 32], &noise).map(drop))),
    ]
}

/// One bit of each sixth byte of each content up to 1,000 bytes, and of the last one.
fn changed(plugin: &Plugin, key: &[u8], items: &[Item], sealed: &[Vec<u8>]) -> Result<(), String> {
    for (item, sealed) in items.iter().zip(sealed).take(11) {
        let places = (0..sealed.len()).step_by(6).chain(sealed.len().checked_sub(1));
        let flipped: Vec<_> = places
            .map(|at| {
                let mut sealed = sealed.clone();
                flip(&mut sealed, 8 * at + at % 8);
                sealed
            })
            .collect();
        let whole: Vec<_> = flipped.iter().map(|sealed| of(item, sealed)).collect();
        let opened = plugin.open(key, &whole).map_err(|error| error.to_string())?;
        forged(&opened, &format!("of a content of {} bytes", item.content.len()))?;
    }
    Ok(())
}

fn forged(opened: &[Result<Vec<u8>, OpenFault>], what: &str) -> Result<(), String> {
    let wrong = opened.iter().position(|opened| *opened != Err(OpenFault::Forged));
    wrong.map_or(Ok(()), |at| Err(format!("{what}: {:?}", opened[at].as_ref().map(Vec::len))))
}

fn differs(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err("it is sealed otherwise".into()) }
}

fn expected_of(
    items: &[Item],
) -> impl DoubleEndedIterator<Item = Result<Vec<u8>, OpenFault>> + ExactSizeIterator {
    items.iter().map(|item| Ok(item.content.clone()))
}

fn of<'a>(item: &'a Item, sealed: &'a [u8]) -> Sealed<'a> {
    Sealed { associated: &item.associated, sealed }
}

fn item(noise: &mut Noise, length: usize) -> Item {
    let mut nonce = [0; 32];
    nonce.copy_from_slice(&noise.bytes(32));
    Item { nonce, associated: noise.bytes(ASSOCIATED), content: noise.bytes(length) }
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}
