use super::{Finding, Noise, finding};
use crate::{CallError, Plugin, SignedItem, Verdict};
use mainstem_crypto::sha256;
use mainstem_plugin_abi::SignatureClaim;

/// Bytes of a signed header.
const HEADER: usize = 203;
/// Items of the largest call.
const ITEMS: usize = 256;
/// Lengths of signatures that are tried: none, one byte, common ones, the longest.
const LENGTHS: [usize; 8] = [0, 1, 32, 64, 65, 72, 3_309, 16_384];

struct Item {
    header: Vec<u8>,
    origin_type: u8,
    origin: Vec<u8>,
    signature: Vec<u8>,
}

impl Item {
    fn signed(&self) -> SignedItem<'_> {
        SignedItem {
            header: &self.header,
            batch_id: sha256(&self.header),
            origin_type: self.origin_type,
            origin: &self.origin,
            timestamp: 1_700_000_000_000,
            signature: &self.signature,
        }
    }
}

pub(super) fn findings(plugin: &Plugin, claim: &SignatureClaim) -> Vec<Finding> {
    let items = items(claim);
    let signed: Vec<_> = items.iter().map(Item::signed).collect();
    let verify = |items: &[SignedItem<'_>]| plugin.verify(items).map_err(|error| error.to_string());
    let together = verify(&signed);
    let mut findings = vec![
        finding("an empty list has no verdicts", verify(&[]).map(drop)),
        finding(format!("{ITEMS} items are judged in one call"), together.clone().map(drop)),
    ];
    let Ok(together) = together else { return findings };
    let valid = together.iter().filter(|verdict| **verdict == Verdict::Valid).count();
    let none = if valid == 0 { Ok(()) } else { Err(format!("{valid} of {ITEMS} are valid")) };
    findings.push(finding("noise is no valid signature", none));
    let same = |items: &[SignedItem<'_>], expected: &[Verdict]| {
        let found = verify(items)?;
        let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
        differs.map_or(Ok(()), |at| Err(format!("item {at} is {:?}, and was {:?}", found[at], expected[at])))
    };
    findings.push(finding("the same items have the same verdicts", same(&signed, &together)));
    let reversed: Vec<_> = signed.iter().rev().copied().collect();
    let expected: Vec<_> = together.iter().rev().copied().collect();
    findings.push(finding("verdicts do not depend on the order of items", same(&reversed, &expected)));
    let alone =
        signed.iter().zip(&together).take(16).try_for_each(|(item, verdict)| same(&[*item], &[*verdict]));
    findings.push(finding("an item alone has the verdict that it has among others", alone));
    if claim.signs {
        let refused = match plugin.sign(&[], &[[7; 32]]) {
            Err(CallError::Failed { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("it signed".into()),
        };
        findings.push(finding("an empty key is refused", refused));
    }
    findings
}

fn items(claim: &SignatureClaim) -> Vec<Item> {
    let mut noise = Noise(0x6d61_696e_7374_656d);
    let item = |index: usize| {
        let origin_type = claim.origin_types[index % claim.origin_types.len()];
        let origin_bytes = if origin_type == 1 { 20 } else { [1, 20, 32][index % 3] };
        Item {
            header: noise.bytes(HEADER),
            origin_type,
            origin: noise.bytes(origin_bytes),
            signature: noise.bytes(LENGTHS[index % LENGTHS.len()]),
        }
    };
    (0..ITEMS).map(item).collect()
}
