use mainstem_model::{Code, ReadFilter, ReadStart, Refusal};

/// Whether what a subscriber asks for goes together.
pub(super) fn check_start(
    start: ReadStart,
    filter: &ReadFilter,
    live: bool,
    last_max: u64,
) -> Result<(), Refusal> {
    if matches!(start, ReadStart::Last(n) if n > last_max) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            format!(
                "the last n events can be asked for up to n = {last_max}; ask for a range of time instead"
            ),
        ));
    }
    if matches!(start, ReadStart::Last(_)) && (filter.from, filter.to) != (i64::MIN, i64::MAX) {
        return Err(Refusal::new(
            Code::InvalidArgument,
            "ask for the last n events or for a range of time, not for both",
        ));
    }
    if live && filter.to != i64::MAX {
        return Err(Refusal::new(
            Code::InvalidArgument,
            "a range has an end and cannot go on live; ask with live = false, or from a time on",
        ));
    }
    if filter.from > filter.to {
        return Err(Refusal::new(Code::InvalidArgument, "the range ends before it begins"));
    }
    Ok(())
}
