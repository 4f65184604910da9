mod reach;
mod request;
mod web;

#[cfg(test)]
mod tests;

pub(crate) use reach::Reach;
pub(crate) use web::Web;

use super::{Answer, Meter, Privileges, Stop};
use mainstem_plugin_abi::plugin_capnp::{FailureCode, http_request};

/// Fuel of a request, beside 1 for each byte of a body, either way.
const REQUEST_FUEL: u64 = 100_000;

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoResponse {
    /// It may work later. What was asked for may have been done all the same.
    Unavailable(String),
    /// The server's name leads to where it may not.
    Denied(String),
    /// The answer is over a bound.
    Limit(String),
}

/// Asks a server that was granted. Who waits is the thread that called the plugin, for `http_wait_ms_max` at most and no longer than
/// there is fuel for, and that time is not the plugin's.
pub(super) fn ask(
    privileges: &Privileges,
    request: http_request::Reader<'_>,
    meter: &mut Meter,
) -> Result<Answer, Stop> {
    let asked = request::read(&privileges.reach, request)?;
    meter.charge(REQUEST_FUEL + asked.body_bytes())?;
    let wait_max = meter.wait_max();
    match meter.wait(|| privileges.reach.send(asked, wait_max)) {
        Ok(answer) => {
            meter.charge(answer.body.len() as u64)?;
            Ok(Answer::Http(answer))
        }
        Err(NoResponse::Unavailable(why)) => Err(Stop::Failed(FailureCode::Unavailable, why)),
        Err(NoResponse::Denied(why)) => Err(Stop::Failed(FailureCode::Denied, why)),
        Err(NoResponse::Limit(why)) => Err(Stop::Failed(FailureCode::Limit, why)),
    }
}
