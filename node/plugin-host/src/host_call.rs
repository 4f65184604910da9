use crate::{
    Fault,
    capability::{Answer, Meter, answer},
    instance::{Exports, Phase, State, give, within},
};
use mainstem_plugin_abi::{Place, names, plugin_capnp::FailureCode};
use wasmtime::{Caller, Engine, Error, Linker};

/// What modules import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>, Error> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(names::IMPORT, names::HOST_CALL, host_call)?;
    Ok(linker)
}

/// `mainstem.host_call`.
fn host_call(mut caller: Caller<'_, State>, ptr: u32, len: u32) -> Result<u64, Error> {
    let exports = match (caller.data().phase, caller.data().exports.clone()) {
        (Phase::Call, Some(exports)) => exports,
        (Phase::HostCall, _) => {
            return Err(trap("mainstem_alloc and mainstem_free must not call mainstem.host_call"));
        }
        (Phase::Aside | Phase::Call, _) => {
            return Err(trap("mainstem.host_call was called outside of mainstem_call"));
        }
    };
    caller.data_mut().phase = Phase::HostCall;
    let reply = answered(&mut caller, &exports, Place { ptr, len })?.encode();
    let place = give(&mut caller, &exports, &reply)?;
    caller.data_mut().phase = Phase::Call;
    Ok(place.to_u64())
}

fn answered(caller: &mut Caller<'_, State>, exports: &Exports, place: Place) -> Result<Answer, Error> {
    let mut meter = Meter::new(caller.get_fuel()?, caller.data().until);
    let (memory, state) = exports.memory.data_and_store_mut(&mut *caller);
    let privileges = &*state.privileges;
    let answer = if place.len > privileges.request_bytes_max {
        let max = privileges.request_bytes_max;
        Ok(Answer::Failed(
            FailureCode::Limit,
            format!("a host request of {} bytes: {max} are the most", place.len),
        ))
    } else {
        match within(memory, place) {
            Some(segment) => answer(privileges, segment, &mut meter),
            None => Ok(Answer::Failed(
                FailureCode::Malformed,
                format!("{} bytes at {} are not in memory", place.len, place.ptr),
            )),
        }
    };
    caller.set_fuel(meter.fuel())?;
    answer.map_err(Error::from)
}

fn trap(what: &str) -> Error {
    Error::new(Fault::Trap(what.into()))
}
