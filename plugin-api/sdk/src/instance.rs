use crate::{Failure, Host};
use mainstem_plugin_abi::plugin_capnp::{reply, request};

/// An instance of a plugin: what answers requests. [`crate::signature!`] and [`crate::operators!`] name theirs `Plugin`.
pub trait Instance: Default {
    /// Answers a request that is in order.
    ///
    /// # Errors
    /// What is answered with `failed`.
    fn answer(&mut self, host: &Host<'_>, request: request::Reader<'_>) -> Result<Vec<u8>, Failure>;

    /// Answers a request with a reply, both as the messages that they are. It never fails: what goes wrong is a reply too.
    fn handle(&mut self, host: &Host<'_>, request: &[u8]) -> Vec<u8> {
        handled(request, |request| self.answer(host, request))
    }
}

/// The reply to a request, whatever comes of it.
pub(crate) fn handled(
    request: &[u8],
    answer: impl FnOnce(request::Reader<'_>) -> Result<Vec<u8>, Failure>,
) -> Vec<u8> {
    let answer = || {
        let message = mainstem_plugin_abi::read(request)?;
        answer(message.get_root()?)
    };
    answer().unwrap_or_else(|failure| failed(&failure))
}

/// What a plugin says to a call that is not of its kind, or new to it.
pub(crate) fn not_known(kind: &str) -> Failure {
    Failure::unsupported(format!("this plugin is {kind} and does not know this call"))
}

fn failed(failure: &Failure) -> Vec<u8> {
    let words = 8 + failure.message.len() / 8;
    mainstem_plugin_abi::write::<reply::Owned>(words, |reply: reply::Builder<'_>| {
        failure.write(reply.init_failed());
    })
}
