#[cfg(test)]
mod tests;

use crate::{
    CallError, Config, Counters, Fault, Grants, Manifest, PluginId, Status,
    capability::Privileges,
    clock::Clock,
    counters::{Meters, Used},
    faults::Switch,
    instance::{Bounds, Instance, NoInstance, ReadReply, State},
    patience::Patience,
    pool::{Pool, Slot},
    request::{Laid, Message, WORDS_MAX, with_request},
    ticker::Ticker,
};
use mainstem_plugin_abi::{
    Limits,
    layout::Writer,
    plugin_capnp::{reply, request},
};
use std::{fmt, ops::Deref, sync::Arc, time::Instant};
use wasmtime::InstancePre;

/// A module that is loaded. Cheap to clone; all clones are one plugin.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    id: PluginId,
    manifest: Manifest,
    grants: Grants,
    bounds: Bounds,
    pre: InstancePre<State>,
    privileges: Arc<Privileges>,
    pool: Arc<Pool>,
    instances_max: usize,
    switch: Switch,
    patience: Patience,
    ticker: Arc<Ticker>,
    clock: Clock,
}

/// An operator's instance, and that it counts as one of the plugin's.
pub(crate) struct OwnPlace {
    instance: Box<Instance>,
    _slot: Slot<Arc<Pool>>,
}

/// What a plugin is made of.
pub(crate) struct Parts {
    pub(crate) id: PluginId,
    pub(crate) manifest: Manifest,
    pub(crate) grants: Grants,
    pub(crate) pre: InstancePre<State>,
    pub(crate) privileges: Arc<Privileges>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) clock: Clock,
}

impl Plugin {
    pub(crate) fn new(parts: Parts, config: &Config) -> Self {
        Self(Arc::new(Inner {
            id: parts.id,
            bounds: bounds(&parts.manifest.limits, config),
            manifest: parts.manifest,
            grants: parts.grants,
            pre: parts.pre,
            privileges: parts.privileges,
            pool: Arc::new(Pool::new(config.instances_max)),
            instances_max: config.instances_max,
            switch: Switch::new(config.faults_per_minute_max),
            patience: Patience::of(config),
            ticker: parts.ticker,
            clock: parts.clock,
        }))
    }

    /// Its id.
    pub fn id(&self) -> PluginId {
        self.0.id
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// What it was granted.
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// Whether it is called.
    pub fn status(&self) -> Status {
        self.0.switch.status()
    }

    /// What it has done since it was loaded.
    pub fn counters(&self) -> Counters {
        self.meters().snapshot(&self.0.pool.used())
    }

    fn meters(&self) -> &Meters {
        &self.0.privileges.meters
    }

    /// How long a write waits for the storage that it is.
    pub(crate) fn patience(&self) -> Patience {
        self.0.patience
    }

    fn name(&self) -> String {
        self.0.manifest.name.clone()
    }

    /// What is asked for does not fit the manifest.
    pub(crate) fn asked(&self, fault: &str) -> CallError {
        CallError::Asked { plugin: self.name(), fault: fault.into() }
    }

    /// Calls any instance, with a request of at most so many words.
    pub(crate) fn call<R>(
        &self,
        words: usize,
        fill: impl Fn(request::Builder<'_>),
        items: usize,
        read: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    ) -> Result<R, CallError> {
        self.check_words(words)?;
        with_request(words, fill, |request| self.call_any(request, items, read))
    }

    /// Calls any instance, with a request that is laid out where it is to lie.
    pub(crate) fn call_laid<R>(
        &self,
        request: Laid<impl Fn(&mut Writer<'_>) -> Option<()>>,
        items: usize,
        read: impl ReadReply<R>,
    ) -> Result<R, CallError> {
        self.check_words(request.words)?;
        #[cfg(test)]
        let request = &*request.written();
        self.call_any(request, items, read)
    }

    /// [`Plugin::call_own`] with a request that is laid out where it is to lie.
    pub(crate) fn call_own_laid<R>(
        &self,
        place: &mut OwnPlace,
        request: Laid<impl Fn(&mut Writer<'_>) -> Option<()>>,
        items: usize,
        read: impl ReadReply<R>,
    ) -> Result<R, CallError> {
        self.check_on()?;
        self.check_words(request.words)?;
        #[cfg(test)]
        let request = &*request.written();
        self.run_own(place, request, items, read)
    }

    /// Calls an instance of an operator's own. After a fault it must not be called again.
    pub(crate) fn call_own<R>(
        &self,
        place: &mut OwnPlace,
        words: usize,
        fill: impl Fn(request::Builder<'_>),
        items: usize,
        read: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    ) -> Result<R, CallError> {
        self.check_on()?;
        self.check_words(words)?;
        with_request(words, fill, |request| self.run_own(place, request, items, read))
    }

    fn run_own<R>(
        &self,
        place: &mut OwnPlace,
        request: impl Message,
        items: usize,
        read: impl ReadReply<R>,
    ) -> Result<R, CallError> {
        let _running = self.0.ticker.running();
        let mut used = Used::default();
        let result = self.run(&mut place.instance, &mut used, request, items, read);
        self.0.pool.count(&used);
        result
    }

    /// Calls any instance with a message as it is.
    pub(crate) fn call_any<R>(
        &self,
        request: impl Message,
        items: usize,
        read: impl ReadReply<R>,
    ) -> Result<R, CallError> {
        let mut slot = self.take(&*self.0.pool)?;
        let _running = self.0.ticker.running();
        let mut instance = match slot.instance.take() {
            Some(instance) => instance,
            None => self.make(Instant::now())?,
        };
        let result = self.run(&mut instance, &mut slot.used, request, items, read);
        if is_alive(&result) {
            slot.instance = Some(instance);
        }
        result
    }

    /// A place with an instance that nobody else calls.
    pub(crate) fn own_place(&self) -> Result<OwnPlace, CallError> {
        let mut slot = self.take(Arc::clone(&self.0.pool))?;
        let _running = self.0.ticker.running();
        // One that waits is the first, which nobody has called: operators give none back.
        let instance = slot.instance.take().map_or_else(|| self.make(Instant::now()), Ok)?;
        Ok(OwnPlace { instance, _slot: slot })
    }

    /// What `mainstem_abi` of a first instance gives, which is kept for the first call.
    pub(crate) fn first_abi(&self) -> Result<u32, String> {
        let mut slot = self.take(&*self.0.pool).map_err(|error| error.to_string())?;
        let _running = self.0.ticker.running();
        let (privileges, bounds) = (&self.0.privileges, self.0.bounds);
        let mut instance =
            Instance::make(&self.0.pre, privileges, bounds, Instant::now()).map_err(NoInstance::into_text)?;
        let abi = instance.abi(Instant::now()).map_err(|fault| fault.to_string())?;
        slot.instance = Some(Box::new(instance));
        Ok(abi)
    }

    fn check_on(&self) -> Result<(), CallError> {
        match self.0.switch.off() {
            None => Ok(()),
            Some(reason) => Err(CallError::Off { plugin: self.name(), reason: reason.into() }),
        }
    }

    fn check_words(&self, words: usize) -> Result<(), CallError> {
        if words <= WORDS_MAX {
            return Ok(());
        }
        Err(self.asked(&format!(
            "a request of {} bytes: {} are the most, so send fewer items at once",
            8 * words,
            8 * WORDS_MAX
        )))
    }

    fn take<P: Deref<Target = Pool>>(&self, pool: P) -> Result<Slot<P>, CallError> {
        self.check_on()?;
        let busy = || CallError::Busy { plugin: self.name(), instances: self.0.instances_max };
        Slot::take(pool, || Instant::now() + self.0.bounds.deadline()).ok_or_else(busy)
    }

    fn make(&self, now: Instant) -> Result<Box<Instance>, CallError> {
        let made = Instance::make(&self.0.pre, &self.0.privileges, self.0.bounds, now);
        made.map(Box::new).map_err(|none| match none {
            NoInstance::Fault(fault, hardly_ran) => self.faulted(fault, hardly_ran),
            NoInstance::Host(fault) => CallError::Host { plugin: self.name(), fault },
        })
    }

    fn run<R>(
        &self,
        instance: &mut Instance,
        used: &mut Used,
        request: impl Message,
        items: usize,
        read: impl ReadReply<R>,
    ) -> Result<R, CallError> {
        let clock = &self.0.clock;
        let begun = clock.now();
        // A deadline may come late by a step of the clock, and never early.
        let outcome = instance.call(used, request, begun + clock.step(), read);
        used.calls = 1;
        used.items = items as u64;
        // Of a call that is shorter than a step nothing, or the whole step if it is at its end: right in the sum.
        let time = clock.now().saturating_duration_since(begun);
        used.time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match outcome {
            Ok(outcome) => outcome.into_result(&self.0.manifest.name, self.meters()),
            Err(fault) => Err(self.faulted(fault, instance.hardly_ran())),
        }
    }

    /// A fault. A deadline of a call whose thread hardly ran is not held against the plugin: that is the machine's doing.
    fn faulted(&self, fault: Fault, hardly_ran: bool) -> CallError {
        self.meters().count(&fault);
        let plugin = self.name();
        if hardly_ran && matches!(fault, Fault::Deadline(_)) {
            return CallError::Fault { plugin, fault };
        }
        tracing::warn!(plugin, id = %self.0.id, %fault, "plugin is at fault");
        if self.0.switch.take(&fault, Instant::now()) {
            tracing::error!(plugin, id = %self.0.id, "plugin is switched off after too many faults");
            self.0.pool.close();
        }
        CallError::Fault { plugin, fault }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {}, {})", self.0.manifest.name, self.0.manifest.version, self.0.id)
    }
}

/// Whether the instance that gave this may be called again.
pub(crate) const fn is_alive<R>(result: &Result<R, CallError>) -> bool {
    matches!(result, Ok(_) | Err(CallError::Failed { .. }))
}

/// What a plugin gets of what it wishes for.
pub(crate) fn bounds(wished: &Limits, config: &Config) -> Bounds {
    fn or(wished: u64, default: u64, max: u64) -> u64 {
        if wished == 0 { default } else { wished.min(max) }
    }
    let deadline =
        or(wished.deadline_ms.into(), config.deadline_ms_default.into(), config.deadline_ms_max.into());
    Bounds {
        memory_bytes: or(wished.memory_bytes, config.memory_bytes_default, config.memory_bytes_max),
        table_elements: config.table_elements_max,
        fuel: or(wished.fuel, config.fuel_default, config.fuel_max),
        deadline_ms: u32::try_from(deadline).unwrap_or(u32::MAX),
        reply_bytes: config.reply_bytes_max,
    }
}
