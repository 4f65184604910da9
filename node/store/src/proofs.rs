//! How many proofs of equivocations are kept.

use mainstem_model::SeriesKey;

/// Which proofs of an origin go when another of so many bytes comes.
///
/// IMPORTANT: the new one stays: other brokers may not have heard of it. A series' id is drawn at random, so it is left to
/// chance which of the others go.
pub(crate) fn too_much(kept: Vec<(SeriesKey, usize)>, new: usize, bytes_max: usize) -> Vec<SeriesKey> {
    let mut bytes = new + kept.iter().map(|(_, bytes)| bytes).sum::<usize>();
    let mut gone = Vec::new();
    for (series, its) in kept {
        if bytes <= bytes_max {
            break;
        }
        if its > 0 {
            bytes -= its;
            gone.push(series);
        }
    }
    gone
}
