use super::{Answer, Stop};
use crate::Ambient;
use mainstem_plugin_abi::{limits::RANDOM_BYTES_MAX, plugin_capnp::FailureCode};

/// Random bytes.
pub(super) fn random(ambient: &dyn Ambient, count: u32) -> Result<Answer, Stop> {
    if count > RANDOM_BYTES_MAX {
        return Err(Stop::limit(count, "random bytes", RANDOM_BYTES_MAX));
    }
    let mut bytes = vec![0; count as usize];
    if ambient.fill_random(&mut bytes) {
        return Ok(Answer::Random(bytes));
    }
    Err(Stop::Failed(FailureCode::Unavailable, "the system gives no random bytes now".into()))
}
