use crate::{
    CallError, Emitted, Plugin, Rows,
    plugin::{OwnPlace, is_alive},
    request::words_of,
};
use mainstem_plugin_abi::{
    Claim, ColumnType, OperatorClaim, Parameter,
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
        let values = values(claim, parameters).map_err(|fault| self.asked(&fault))?;
        let place = Some(self.own_place()?);
        let mut operator = Operator { plugin: self.clone(), claim: claim.clone(), place };
        operator.start(&values)?;
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

    fn start(&mut self, values: &[(&str, &str)]) -> Result<(), CallError> {
        let name = self.claim.name.clone();
        let words = values.iter().map(|(name, value)| 6 + (name.len() + value.len()) / 8).sum::<usize>();
        let fill = |request: request::Builder<'_>| {
            let mut start = request.init_start();
            start.set_operator(name.as_str());
            let mut list = start.init_parameters(u32::try_from(values.len()).unwrap_or(u32::MAX));
            for (index, (name, value)) in (0..).zip(values) {
                let mut to = list.reborrow().get(index);
                to.set_name(*name);
                to.set_value(*value);
            }
        };
        self.call(32 + words, fill, 0, done)
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

/// A value for each parameter of the claim, in its order.
fn values<'a>(
    claim: &'a OperatorClaim,
    given: &'a BTreeMap<String, String>,
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let knows = |name: &String| claim.parameters.iter().any(|parameter| parameter.name == *name);
    if let Some(unknown) = given.keys().find(|name| !knows(name)) {
        let names: Vec<_> = claim.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        return Err(format!("{} has no parameter {unknown:?}, but {}", claim.name, names.join(", ")));
    }
    let value = |parameter: &'a Parameter| {
        let value = given.get(&parameter.name).map_or(parameter.default.as_str(), String::as_str);
        let of = format!("parameter {} of {}", parameter.name, claim.name);
        if value.is_empty() && !given.contains_key(&parameter.name) {
            return Err(format!("{of} has no default: give it a value"));
        }
        let fits = match parameter.parameter_type {
            ColumnType::Int64 => value.parse::<i64>().is_ok(),
            ColumnType::Float64 => value.parse::<f64>().is_ok(),
            ColumnType::Data => {
                value.len().is_multiple_of(2) && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            }
            ColumnType::Text => true,
        };
        if fits { Ok((parameter.name.as_str(), value)) } else { Err(wrong(&of, value, parameter)) }
    };
    claim.parameters.iter().map(value).collect()
}

fn wrong(of: &str, value: &str, parameter: &Parameter) -> String {
    let right = match parameter.parameter_type {
        ColumnType::Int64 => "a whole number of 64 bits",
        ColumnType::Float64 => "a number",
        ColumnType::Data => "bytes in lower case hexadecimal digits",
        ColumnType::Text => "text",
    };
    let shown: String = value.chars().take(80).collect();
    format!("{of} is {shown:?}, which is not {right}")
}
