//! What can be said of a batch by itself, its time and the registry.

use crate::{Config, Now};
use mainstem_model::{Code, Header, Refusal, Registry, SeriesKey, VerifiedBatch};

pub(super) fn gap(message: String) -> Refusal {
    Refusal::new(Code::SeriesGap, message)
}

pub(super) fn check_revoked(batch: &VerifiedBatch, registry: &Registry) -> Result<(), Refusal> {
    let Some((digest, _)) = batch.delegation_used() else { return Ok(()) };
    let revoked = batch.header().origin.address().is_some_and(|wallet| registry.is_revoked(wallet, digest));
    if revoked {
        return Err(Refusal::new(Code::InvalidDelegation, "the wallet has revoked this delegation on chain"));
    }
    Ok(())
}

/// Whether two batches are of one place, and not the same.
pub(super) fn are_proof(first: &VerifiedBatch, second: &VerifiedBatch) -> bool {
    let (a, b) = (first.header(), second.header());
    SeriesKey::of(a) == SeriesKey::of(b)
        && first.id() != second.id()
        && a.sequence < b.next_sequence()
        && b.sequence < a.next_sequence()
}

/// Whether a batch that is not here yet may be taken in at this time.
pub(super) fn check_time(batch: &VerifiedBatch, config: &Config, now: Now) -> Result<(), Refusal> {
    if batch.delegation_used().is_some_and(|(_, expiry)| now.unix_s() > expiry) {
        return Err(Refusal::new(
            Code::InvalidDelegation,
            "the delegation has expired; let the wallet sign another",
        ));
    }
    check_clock(batch.header(), config, now)
}

/// Whether a batch claims to be from a time to come: no honest broker has taken that in.
pub(super) fn check_future(header: &Header, config: &Config, now: Now) -> Result<(), Refusal> {
    // Twice: once for the clock of who took it in.
    let latest = now.unix_ms.saturating_add(config.timestamp_window_ms.saturating_mul(2));
    if header.timestamp_max <= latest {
        return Ok(());
    }
    let why = format!("the events' timestamp {} is in the future of {}", header.timestamp_max, now.unix_ms);
    Err(Refusal::new(Code::InvalidTimestamp, why))
}

pub(super) fn check_clock(header: &Header, config: &Config, now: Now) -> Result<(), Refusal> {
    let window = config.timestamp_window_ms;
    let (earliest, latest) = (now.unix_ms.saturating_sub(window), now.unix_ms.saturating_add(window));
    if header.timestamp_min >= earliest && header.timestamp_max <= latest {
        return Ok(());
    }
    Err(Refusal::new(
        Code::InvalidTimestamp,
        format!(
            "the events' timestamps {} to {} are more than {window} ms from the broker's clock, {}; set the clock",
            header.timestamp_min, header.timestamp_max, now.unix_ms
        ),
    ))
}
