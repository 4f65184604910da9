use crate::{
    CallError, Emitted, Plugin, Rows,
    instance::Quick,
    plugin::{OwnPlace, is_alive},
    request::{Laid, words_of},
    start::Start,
};
use mainstem_plugin_abi::{
    Claim, OperatorClaim,
    layout::{Words, Writer, tags},
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
        let count = rows.timestamps.len();
        let Some(words) = rows.words_of_events() else {
            let fill = |request: request::Builder<'_>| rows.write(port, request.init_on_batch());
            return self.call(rows.words(), fill, count, emitted);
        };
        let request = Laid { words, lay: |to: &mut Writer<'_>| rows.lay_events(port, to) };
        self.ask(|plugin, claim, place| {
            let read = Quick {
                quick: |words: Words<'_>| quick_emitted(claim, words),
                read: |reply: reply::WhichReader<'_>| emitted(claim, reply),
            };
            plugin.call_own_laid(place, request, count, read)
        })
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
        self.ask(|plugin, claim, place| {
            plugin.call_own(place, words, fill, items, |reply: reply::WhichReader<'_>| read(claim, reply))
        })
    }

    fn ask<R>(
        &mut self,
        call: impl FnOnce(&Plugin, &OperatorClaim, &mut OwnPlace) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let (plugin, claim) = (&self.plugin, &self.claim);
        let Some(place) = &mut self.place else {
            return Err(CallError::Lost { plugin: plugin.manifest().name.clone() });
        };
        let result = call(plugin, claim, place);
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

/// [`emitted`] of a reply that has the usual form, and whole events alone.
pub(crate) fn quick_emitted(claim: &OperatorClaim, words: Words<'_>) -> Option<Vec<Emitted>> {
    let root = words.root()?;
    let batches = (root.u16(0) == tags::EMITTED).then(|| root.structs(0)).flatten()?;
    // IMPORTANT: no more than what `read` lets be visited, which would have refused it.
    let mut budget = (2 * words.count()).checked_sub(root.words() + batches.words())?;
    let read = batches.iter().map(|batch| {
        let port = batch.u16(0);
        let to = claim.outputs.get(usize::from(port))?;
        let rows = Rows::quick_events(&batch, &mut budget)?;
        rows.misfit(to).is_none().then_some(Emitted { port, rows })
    });
    read.collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instance::{Outcome, read_reply},
        signature::{quick_verdicts, read_verdicts},
    };
    use mainstem_plugin_abi::{Place, Port, plugin_capnp::Verdict, write};
    use std::fmt::Debug;

    const BYTES_MAX: u32 = 1 << 20;

    fn claim() -> OperatorClaim {
        let out = || Port { name: "out".into(), columns: Vec::new() };
        OperatorClaim {
            name: "op".into(),
            description: String::new(),
            inputs: Vec::new(),
            outputs: vec![out(), out()],
            parameters: Vec::new(),
        }
    }

    fn two_batches() -> Vec<u8> {
        write::<reply::Owned>(64, |reply| {
            let mut batches = reply.init_emitted(2);
            for port in 0..2_u16 {
                let mut batch = batches.reborrow().get(port.into());
                batch.set_port(port);
                batch.reborrow().init_timestamps(2).set(1, 9);
                let mut events = batch.init_events(2);
                events.reborrow().get(0).set_content(b"first");
                events.reborrow().get(1).set_content_type(7);
                events.get(1).set_content(&[3; 20]);
            }
        })
    }

    /// What is read at once, if anything, is what is read by all means.
    fn check<R: PartialEq + Debug>(
        message: &[u8],
        quick: impl FnOnce(Words<'_>) -> Option<R>,
        read: impl FnOnce(reply::WhichReader<'_>) -> Result<R, String>,
    ) -> bool {
        let Some(found) = Words::of(message).and_then(quick) else { return false };
        let place = Place { ptr: 0, len: u32::try_from(message.len()).unwrap_or_default() };
        match read_reply(message, place, BYTES_MAX, read) {
            Ok(Outcome::Done(right)) => assert_eq!(found, right),
            Ok(Outcome::Failed(..)) => panic!("{found:?} of what failed"),
            Err(fault) => panic!("{found:?} of what is refused: {fault}"),
        }
        true
    }

    #[test]
    fn what_is_read_by_layout_alone_is_what_is_read_by_all_means_however_a_message_is_damaged() {
        let verdicts = write::<reply::Owned>(16, |reply| {
            let mut list = reply.init_verdicts(5);
            list.set(0, Verdict::Expired);
            list.set(4, Verdict::Invalid);
        });
        let (emissions, claim) = (two_batches(), claim());
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut quick = [0; 2];
        for damages in (0..3).cycle().take(60_000) {
            let (mut verdicts, mut emissions) = (verdicts.clone(), emissions.clone());
            for message in [&mut verdicts, &mut emissions] {
                for _ in 0..damages {
                    let (at, bit) = (random(message.len()), random(8));
                    message[at] ^= 1 << bit;
                }
            }
            let read = |reply: reply::WhichReader<'_>| read_verdicts(5, reply);
            quick[0] += usize::from(check(&verdicts, |words| quick_verdicts(5, words), read));
            let read = |reply: reply::WhichReader<'_>| emitted(&claim, reply);
            quick[1] += usize::from(check(&emissions, |words| quick_emitted(&claim, words), read));
        }
        assert!(quick.iter().all(|count| *count > 20_000), "{quick:?} were read by layout");
    }

    #[test]
    fn batches_that_lie_one_over_the_other_are_not_read_by_layout() {
        // As many batches as there is room for, all with the list of the one behind them.
        let batches = 400_u32;
        let mut bytes = write::<reply::Owned>(4_000, |reply| {
            let mut list = reply.init_emitted(batches);
            let mut last = list.reborrow().get(batches - 1);
            last.reborrow().init_timestamps(400);
            last.init_events(400);
        });
        let first = 4; // The root, its tag and pointer, and the tag of the list.
        let of = |batch: u32| 8 * (first + 3 * batch as usize);
        let last = of(batches - 1);
        for batch in 0..batches - 1 {
            let back = u64::from(3 * (batches - 1 - batch));
            for word in 0..3 {
                let at = last + 8 * word;
                let value = u64::from_le_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 8]));
                let value = if word == 0 { value } else { value + (back << 2) };
                bytes[of(batch) + 8 * word..][..8].copy_from_slice(&value.to_le_bytes());
            }
        }
        let words = Words::of(&bytes).expect("a message has whole words");
        assert!(quick_emitted(&claim(), words).is_none());
        let place = Place { ptr: 0, len: u32::try_from(bytes.len()).unwrap_or_default() };
        let read = |reply: reply::WhichReader<'_>| emitted(&claim(), reply);
        assert!(matches!(read_reply(&bytes, place, BYTES_MAX, read), Err(why) if why.contains("limit")));
    }
}
