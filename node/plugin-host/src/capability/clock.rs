use super::Answer;
use crate::Ambient;

/// What time it is.
pub(super) fn now(ambient: &dyn Ambient) -> Answer {
    Answer::Now(ambient.now_ms())
}
