#[cfg(test)]
use crate::next_minor::{Side, written};
use crate::{
    Fault,
    capability::{Answer, CALL_FUEL, Meter, Privileges, answer},
    instance::{Exports, Phase, State, give, within},
};
use mainstem_plugin_abi::{Place, names, plugin_capnp::FailureCode};
use std::sync::atomic::Ordering::Relaxed;
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
    let state = caller.data_mut();
    state.phase = Phase::HostCall;
    state.look();
    let reply = answered(&mut caller, &exports, Place { ptr, len })?.encode();
    #[cfg(test)]
    let reply = written(Side::Host, &reply);
    let place = give(&mut caller, &exports, &reply)?;
    caller.data_mut().phase = Phase::Call;
    Ok(place.to_u64())
}

fn answered(caller: &mut Caller<'_, State>, exports: &Exports, place: Place) -> Result<Answer, Error> {
    let mut meter = Meter::new(caller.get_fuel()?, caller.data().until);
    let (memory, state) = exports.memory.data_and_store_mut(&mut *caller);
    state.privileges.meters.host_calls.fetch_add(1, Relaxed);
    let answer = meter.charge(CALL_FUEL).and_then(|()| match segment(memory, place, &state.privileges) {
        Ok(segment) => {
            #[cfg(test)]
            let segment = &*written(Side::Plugin, segment);
            answer(&state.privileges, segment, &mut meter)
        }
        Err(failed) => Ok(failed),
    });
    caller.set_fuel(meter.fuel())?;
    let (state, waited) = (caller.data_mut(), meter.waited());
    // Ticks look at this; the epoch at which the next one does stays.
    state.until += waited;
    state.stint.iter_mut().for_each(|stint| stint.leave_out(waited, meter.ran_in_waits()));
    answer.map_err(Error::from)
}

/// Where the host request lies.
fn segment<'a>(memory: &'a [u8], place: Place, privileges: &Privileges) -> Result<&'a [u8], Answer> {
    let (Place { ptr, len }, max) = (place, privileges.request_bytes_max);
    if len > max {
        let what = format!("a host request of {len} bytes: {max} are the most");
        return Err(Answer::Failed(FailureCode::Limit, what));
    }
    let none = || Answer::Failed(FailureCode::Malformed, format!("{len} bytes at {ptr} are not in memory"));
    within(memory, place).ok_or_else(none)
}

fn trap(what: &str) -> Error {
    Error::new(Fault::Trap(what.into()))
}
