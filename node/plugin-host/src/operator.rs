use crate::{
    CallError, Emitted, Plugin, Rows,
    plugin::{OwnPlace, is_alive},
    request::words_of,
    start::Start,
};
use mainstem_plugin_abi::{
    Claim, OperatorClaim,
    plugin_capnp::{reply, request},
};
use std::{collections::BTreeMap, fmt};

/// One operator at one place of a graph, with its state. It has an instance of the plugin to itself, and counts as one.
pub struct Operator {
    plugin: Plugin,
    claim: OperatorClaim,
    /// None after a fault.
    place: Option<OwnPlace>,
}

impl Plugin {
    /// Starts one of its operators. Parameters that are not given have their defaults.
    ///
    /// # Errors
    /// Every [`CallError`]: `Asked` for an operator or a parameter that there is not, or a value that is none of its type; `Failed` for
    /// what the plugin refuses.
    pub fn operator(&self, name: &str, parameters: &BTreeMap<String, String>) -> Result<Operator, CallError> {
        let Claim::Operators(claims) = &self.manifest().claim else {
            return Err(self.asked(&format!("it is of kind {}, not operators", self.manifest().claim.kind())));
        };
        let claim = claims.iter().find(|claim| claim.name == name).ok_or_else(|| {
            let names: Vec<_> = claims.iter().map(|claim| claim.name.as_str()).collect();
            self.asked(&format!("it has no operator {name:?}, but {}", names.join(", ")))
        })?;
        let start =
            Start::new(&claim.name, &claim.parameters, parameters).map_err(|fault| self.asked(&fault))?;
        let place = Some(self.own_place()?);
        let mut operator = Operator { plugin: self.clone(), claim: claim.clone(), place };
        operator.call(start.words(), |request| start.write(request), 0, done)?;
        Ok(operator)
    }
}

impl Operator {
    /// What its plugin's manifest says of it.
    pub const fn claim(&self) -> &OperatorClaim {
        &self.claim
    }

    /// Takes rows in at an input, and gives those for outputs, in the order in which they are to go.
    ///
    /// # Errors
    /// Every [`CallError`]; after a fault the operator is lost.
    pub fn on_batch(&mut self, port: u16, rows: &Rows) -> Result<Vec<Emitted>, CallError> {
        let Some(claim) = self.claim.inputs.get(usize::from(port)) else {
            let inputs = self.claim.inputs.len();
            return Err(self.plugin.asked(&format!("it has {inputs} inputs, and none is {port}")));
        };
        if let Some(fault) = rows.misfit(claim) {
            return Err(self.plugin.asked(&fault));
        }
        let fill = |request: request::Builder<'_>| rows.write(port, request.init_on_batch());
        self.call(rows.words(), fill, rows.timestamps.len(), emitted)
    }

    /// No row before this time, in ms since 1970, will come any more.
    ///
    /// # Errors
    /// Every [`CallError`]; after a fault the operator is lost.
    pub fn on_watermark(&mut self, time_ms: i64) -> Result<Vec<Emitted>, CallError> {
        self.call(8, |mut request| request.set_on_watermark(time_ms), 0, emitted)
    }

    /// Its whole state.
    ///
    /// # Errors
    /// Every [`CallError`]; after a fault the operator is lost.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, CallError> {
        self.call(8, |mut request| request.set_snapshot(()), 0, read_state)
    }

    /// Gives a new operator the state of one that there was.
    ///
    /// # Errors
    /// Every [`CallError`]; after a fault the operator is lost.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), CallError> {
        self.call(8 + words_of(state.len()), |mut request| request.set_restore(state), 0, done)
    }

    fn call<R>(
        &mut self,
        words: usize,
        fill: impl Fn(request::Builder<'_>),
        items: usize,
        read: impl FnOnce(&OperatorClaim, reply::WhichReader<'_>) -> Result<R, String>,
    ) -> Result<R, CallError> {
        let (plugin, claim) = (&self.plugin, &self.claim);
        let Some(place) = &mut self.place else {
            return Err(CallError::Lost { plugin: plugin.manifest().name.clone() });
        };
        let result = plugin.call_own(place, words, fill, items, |reply| read(claim, reply));
        if !is_alive(&result) {
            self.place = None;
        }
        result
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operator({} of {:?})", self.claim.name, self.plugin)
    }
}

pub(crate) fn read_state(_: &OperatorClaim, reply: reply::WhichReader<'_>) -> Result<Vec<u8>, String> {
    let reply::State(state) = reply else { return Err("it has no state".into()) };
    state.map(<[u8]>::to_vec).map_err(|error| format!("its state cannot be read: {error}"))
}

pub(crate) fn done(_: &OperatorClaim, reply: reply::WhichReader<'_>) -> Result<(), String> {
    let reply::Done(()) = reply else { return Err("it is not done".into()) };
    Ok(())
}

pub(crate) fn emitted(claim: &OperatorClaim, reply: reply::WhichReader<'_>) -> Result<Vec<Emitted>, String> {
    let reply::Emitted(batches) = reply else { return Err("it has nothing that is emitted".into()) };
    let batches = batches.map_err(|error| format!("what it emits cannot be read: {error}"))?;
    let read = batches.iter().map(|batch| {
        let port = batch.get_port();
        let to = claim.outputs.get(usize::from(port));
        let to = to.ok_or_else(|| format!("it has {} outputs, and none is {port}", claim.outputs.len()))?;
        let rows = Rows::read(batch)?;
        match rows.misfit(to) {
            Some(fault) => Err(fault),
            None => Ok(Emitted { port, rows }),
        }
    });
    read.collect()
}
