mod guest;

pub(crate) use guest::{Exports, give, within};

#[cfg(test)]
use crate::next_minor::{Side, written};
use crate::{
    CallError, Fault,
    capability::Privileges,
    counters::{Meters, Used},
    error::code_name,
    request::Message,
    sentence::sentence,
    stint::Stint,
    ticker::TICK_MS,
};
use mainstem_plugin_abi::{
    Place,
    layout::Words,
    names,
    plugin_capnp::{FailureCode, failure, reply},
    read,
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use wasmtime::{
    AsContextMut, InstancePre, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc,
    UpdateDeadline,
};

/// Tables of an instance. Compilers make one.
pub(crate) const TABLES_MAX: usize = 8;

/// Bytes that the memory for requests grows by, at least.
const REQUEST_BYTES_STEP: u32 = 4 << 10;

/// What an instance may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: u64,
    pub(crate) table_elements: u32,
    pub(crate) fuel: u64,
    pub(crate) deadline_ms: u32,
    pub(crate) reply_bytes: u32,
}

impl Bounds {
    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms as u64)
    }
}

/// Where an instance is. A host call is answered in a call alone, and not while another is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not in `mainstem_call`.
    Aside,
    /// In `mainstem_call`.
    Call,
    /// In a host call in `mainstem_call`.
    HostCall,
}

/// What goes with an instance.
pub(crate) struct State {
    limits: StoreLimits,
    pub(crate) privileges: Arc<Privileges>,
    pub(crate) exports: Option<Arc<Exports>>,
    pub(crate) phase: Phase,
    /// When the call that runs must be over.
    pub(crate) until: Instant,
    /// How long it may take.
    deadline: Duration,
    /// Of the call that runs, if it was looked at.
    pub(crate) stint: Option<Stint>,
    /// The reply to the last host call, in the plugin's memory.
    pub(crate) host_reply: Option<Place>,
}

impl State {
    /// Looks at the call that runs, at a tick or a host call. One whose thread was kept away until its time was over, before it was looked at
    /// at all, has it once more: whether it did anything cannot be told.
    pub(crate) fn look(&mut self) {
        if self.stint.is_none() {
            let stint = Stint::begin();
            if stint.begun() >= self.until {
                self.until = stint.begun() + self.deadline;
            }
            self.stint = Some(stint);
        }
    }

    /// Whether the call that ended was kept from running: by whatever else runs, or by what it had the node wait for.
    fn hardly_ran(&self) -> bool {
        self.stint.is_some_and(|stint| stint.hardly_ran())
    }
}

/// One instance of a module.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Arc<Exports>,
    call: TypedFunc<(u32, u32), u64>,
    abi: TypedFunc<(), u32>,
    bounds: Bounds,
    /// Where requests are put.
    request: Place,
    _counted: Counted,
}

/// Counts an instance as long as it lives.
struct Counted(Arc<Meters>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Relaxed);
    }
}

/// What a call gives that is no fault.
pub(crate) enum Outcome<R> {
    Done(R),
    Failed(FailureCode, String),
}

/// How a reply is read.
pub(crate) trait ReadReply<R> {
    /// Of its usual form, without a reader for all forms. What it gives is what [`ReadReply::read`] would; nothing if that is to see.
    fn quick(&self, words: Words<'_>) -> Option<R> {
        let _ = words;
        None
    }

    /// Of any form. What it is not is said in a sentence.
    fn read(self, reply: reply::WhichReader<'_>) -> Result<R, String>;
}

impl<R, F: FnOnce(reply::WhichReader<'_>) -> Result<R, String>> ReadReply<R> for F {
    fn read(self, reply: reply::WhichReader<'_>) -> Result<R, String> {
        self(reply)
    }
}

/// A reply that has a usual form.
pub(crate) struct Quick<Q, F> {
    pub(crate) quick: Q,
    pub(crate) read: F,
}

impl<R, Q, F> ReadReply<R> for Quick<Q, F>
where
    Q: Fn(Words<'_>) -> Option<R>,
    F: FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
{
    fn quick(&self, words: Words<'_>) -> Option<R> {
        (self.quick)(words)
    }

    fn read(self, reply: reply::WhichReader<'_>) -> Result<R, String> {
        (self.read)(reply)
    }
}

/// Why there is no instance.
pub(crate) enum NoInstance {
    /// The plugin's fault, and whether its thread hardly ran.
    Fault(Fault, bool),
    /// This machine's.
    Host(String),
}

impl Instance {
    /// Makes one and initializes it.
    pub(crate) fn make(
        pre: &InstancePre<State>,
        privileges: &Arc<Privileges>,
        bounds: Bounds,
        now: Instant,
    ) -> Result<Self, NoInstance> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(usize::try_from(bounds.memory_bytes).unwrap_or(usize::MAX))
            .table_elements(bounds.table_elements as usize)
            .instances(1)
            .memories(1)
            .tables(TABLES_MAX)
            .build();
        let state = State {
            limits,
            privileges: Arc::clone(privileges),
            exports: None,
            phase: Phase::Aside,
            until: now + bounds.deadline(),
            deadline: bounds.deadline(),
            stint: None,
            host_reply: None,
        };
        let mut store = Store::new(pre.module().engine(), state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(at_tick);
        arm(&mut store, &bounds, now).map_err(|error| NoInstance::Host(error.to_string()))?;
        let made = pre.instantiate(&mut store);
        let instance = made.map_err(|error| no_instance(&error, &bounds, store.data()))?;
        let fault = |error: wasmtime::Error| NoInstance::Fault(fault_of(&error, &bounds), false);
        let exports = Arc::new(Exports::of(&mut store, &instance).map_err(fault)?);
        let call = instance.get_typed_func(&mut store, names::CALL).map_err(fault)?;
        let abi = instance.get_typed_func(&mut store, names::ABI).map_err(fault)?;
        store.data_mut().exports = Some(Arc::clone(&exports));
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, names::INITIALIZE) {
            let done = initialize.call(&mut store, ());
            done.map_err(|error| no_instance(&error, &bounds, store.data()))?;
        }
        let meters = Arc::clone(&privileges.meters);
        meters.instances.fetch_add(1, Relaxed);
        meters.instances_made.fetch_add(1, Relaxed);
        let request = Place { ptr: 0, len: 0 };
        Ok(Self { store, exports, call, abi, bounds, request, _counted: Counted(meters) })
    }

    /// What `mainstem_abi` gives.
    pub(crate) fn abi(&mut self, now: Instant) -> Result<u32, Fault> {
        arm(&mut self.store, &self.bounds, now)
            .and_then(|()| self.abi.call(&mut self.store, ()))
            .map_err(|error| fault_of(&error, &self.bounds))
    }

    /// Sends a request and reads the reply where it lies. After a fault the instance must not be called again.
    pub(crate) fn call<R>(
        &mut self,
        used: &mut Used,
        request: impl Message,
        now: Instant,
        read: impl ReadReply<R>,
    ) -> Result<Outcome<R>, Fault> {
        let outcome = self.try_call(request, now, read);
        used.fuel = self.bounds.fuel.saturating_sub(self.store.get_fuel().unwrap_or_default());
        used.memory_bytes_high = self.exports.memory.data_size(&self.store) as u64;
        outcome.map_err(|error| fault_of(&error, &self.bounds))
    }

    fn try_call<R>(
        &mut self,
        request: impl Message,
        now: Instant,
        read: impl ReadReply<R>,
    ) -> Result<Outcome<R>, wasmtime::Error> {
        arm(&mut self.store, &self.bounds, now)?;
        let place = self.put(request)?;
        self.store.data_mut().phase = Phase::Call;
        let reply = self.call.call(&mut self.store, (place.ptr, place.len))?;
        self.store.data_mut().phase = Phase::Aside;
        let memory = self.exports.memory.data(&self.store);
        let outcome = read_reply(memory, Place::from_u64(reply), self.bounds.reply_bytes, read);
        let outcome = outcome.map_err(|what| Fault::Reply(format!("its reply is none: {what}")))?;
        if let Some(kept) = self.store.data_mut().host_reply.take() {
            self.exports.free.call(&mut self.store, (kept.ptr, kept.len))?;
        }
        Ok(outcome)
    }

    /// Whether the call that ended was kept from running.
    pub(crate) fn hardly_ran(&self) -> bool {
        self.store.data().hardly_ran()
    }

    /// Puts a request into the plugin's memory.
    fn put(&mut self, request: impl Message) -> Result<Place, wasmtime::Error> {
        let bytes = request.bytes();
        let too_long = || guest::no_room(bytes as u64);
        let len = u32::try_from(bytes).map_err(|_| too_long())?;
        if len > self.request.len {
            let old = std::mem::replace(&mut self.request, Place { ptr: 0, len: 0 });
            if old.len > 0 {
                self.exports.free.call(&mut self.store, (old.ptr, old.len))?;
            }
            let room = len.checked_next_multiple_of(REQUEST_BYTES_STEP).ok_or_else(too_long)?;
            self.request = self.exports.alloc(&mut self.store, room)?;
        }
        let place = Place { ptr: self.request.ptr, len };
        // It was checked when it was given, and memory never shrinks.
        let to = guest::within_mut(self.exports.memory.data_mut(&mut self.store), place);
        to.and_then(|to| request.put(to)).ok_or_else(too_long)?;
        Ok(place)
    }
}

/// Gives a call all that it may use.
fn arm(store: &mut Store<State>, bounds: &Bounds, now: Instant) -> Result<(), wasmtime::Error> {
    let state = store.data_mut();
    state.until = now + bounds.deadline();
    state.stint = None;
    store.set_epoch_deadline(1);
    store.as_context_mut().set_fuel(bounds.fuel)
}

/// At the first tick of a call, and when its time may be over.
fn at_tick(mut store: StoreContextMut<'_, State>) -> Result<UpdateDeadline, wasmtime::Error> {
    let state = store.data_mut();
    state.look();
    let left = state.until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(UpdateDeadline::Interrupt);
    }
    let ticks = u64::try_from(left.as_millis()).unwrap_or(u64::MAX) / u64::from(TICK_MS);
    Ok(UpdateDeadline::Continue(ticks.max(1)))
}

/// Reads what a call gave back: where it says that its reply lies in its memory.
pub(crate) fn read_reply<R>(
    memory: &[u8],
    place: Place,
    bytes_max: u32,
    by: impl ReadReply<R>,
) -> Result<Outcome<R>, String> {
    if place.len > bytes_max {
        return Err(format!("it has {} bytes, more than plugins.reply_bytes_max, {bytes_max}", place.len));
    }
    if !place.ptr.is_multiple_of(8) {
        return Err(format!("it lies at {}, which is no multiple of 8", place.ptr));
    }
    let segment = within(memory, place)
        .ok_or_else(|| format!("{} bytes at {} are not in its memory", place.len, place.ptr))?;
    #[cfg(test)]
    let segment = &*written(Side::Plugin, segment);
    if let Some(done) = Words::of(segment).and_then(|words| by.quick(words)) {
        return Ok(Outcome::Done(done));
    }
    let message = read(segment).map_err(|error| error.to_string())?;
    let broken = |error: capnp::Error| format!("it cannot be read: {error}");
    let root: reply::Reader<'_> = message.get_root().map_err(broken)?;
    let which = root.which().map_err(|error| format!("this node does not know its kind, {}", error.0))?;
    if let reply::Failed(failed) = which {
        let (code, message) = read_failure(failed.map_err(broken)?).map_err(broken)?;
        return Ok(Outcome::Failed(code, message));
    }
    by.read(which).map(Outcome::Done)
}

fn read_failure(failed: failure::Reader<'_>) -> capnp::Result<(FailureCode, String)> {
    // A code that is new counts as the last resort.
    let code = failed.get_code().unwrap_or(FailureCode::Internal);
    Ok((code, sentence(failed.get_message()?.as_bytes())))
}

fn no_instance(error: &wasmtime::Error, bounds: &Bounds, state: &State) -> NoInstance {
    if error.is::<Trap>() || error.is::<Fault>() {
        return NoInstance::Fault(fault_of(error, bounds), state.hardly_ran());
    }
    NoInstance::Host(sentence(format!("{error:#}").as_bytes()))
}

fn fault_of(error: &wasmtime::Error, bounds: &Bounds) -> Fault {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.clone();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Fault::OutOfFuel(bounds.fuel),
        Some(Trap::Interrupt) => Fault::Deadline(bounds.deadline_ms),
        Some(trap) => Fault::Trap(trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        None => Fault::Trap(sentence(format!("{error:#}").as_bytes())),
    }
}

impl NoInstance {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Fault(fault, _) => fault.to_string(),
            Self::Host(fault) => fault,
        }
    }
}

impl<R> Outcome<R> {
    pub(crate) fn into_result(self, plugin: &str, meters: &Meters) -> Result<R, CallError> {
        match self {
            Self::Done(result) => Ok(result),
            Self::Failed(code, message) => {
                meters.failed.fetch_add(1, Relaxed);
                tracing::debug!(plugin, code = code_name(code), message, "plugin failed");
                Err(CallError::Failed { plugin: plugin.into(), code, message })
            }
        }
    }
}
