use crate::{
    Batch, Failure, Host, Instance, Parameters, Rows,
    instance::{handled, not_known},
    rows::write_emitted,
};
use mainstem_plugin_abi::{
    layout::{Structs, Words, tags},
    plugin_capnp::{reply, request},
};
use std::marker::PhantomData;

/// An operator: takes batches of rows at its inputs and gives batches of rows at its outputs.
///
/// It is a function of what it was given: the same calls give the same replies. So it reads no clock, and walks through no
/// collection whose order is by chance.
pub trait Operator: Sized + 'static {
    /// As the manifest names it.
    const NAME: &'static str;

    /// A new one.
    ///
    /// # Errors
    /// `invalid`, with a sentence that names the parameter.
    fn start(parameters: &Parameters<'_>) -> Result<Self, Failure>;

    /// Takes rows at the input `port`. What is given goes out in its order.
    ///
    /// # Errors
    /// Rows that are not as the manifest says. The state must then be as before.
    fn on_batch(&mut self, host: &Host<'_>, port: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure>;

    /// Learns that no row before `time` (ms since 1970) comes any more, at any input. What is given goes out in its order.
    ///
    /// # Errors
    /// As of [`Operator::on_batch`].
    fn on_watermark(&mut self, host: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure> {
        let _ = (host, time);
        Ok(Vec::new())
    }

    /// The whole state, in bytes of its own; none if there is no state.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes on what [`Operator::snapshot`] gave, and from then on behaves as the one that gave it.
    ///
    /// # Errors
    /// `invalid`: the bytes are no state of this operator.
    fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        if state.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(format!("{} keeps no state, and these are {} bytes", Self::NAME, state.len())))
    }
}

/// An operator that was started, whichever it is. For [`crate::operators!`].
pub trait Running {
    /// As [`Operator::on_batch`].
    ///
    /// # Errors
    /// As there.
    fn on_batch(&mut self, host: &Host<'_>, port: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure>;
    /// As [`Operator::on_watermark`].
    ///
    /// # Errors
    /// As there.
    fn on_watermark(&mut self, host: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure>;
    /// As [`Operator::snapshot`].
    fn snapshot(&self) -> Vec<u8>;
    /// As [`Operator::restore`].
    ///
    /// # Errors
    /// As there.
    fn restore(&mut self, state: &[u8]) -> Result<(), Failure>;
}

impl<O: Operator> Running for O {
    fn on_batch(&mut self, host: &Host<'_>, port: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
        Operator::on_batch(self, host, port, batch)
    }

    fn on_watermark(&mut self, host: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure> {
        Operator::on_watermark(self, host, time)
    }

    fn snapshot(&self) -> Vec<u8> {
        Operator::snapshot(self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), Failure> {
        Operator::restore(self, state)
    }
}

/// The operators of a module. [`crate::operators!`] makes it.
pub trait OperatorSet {
    /// Starts the one of this name, if there is one.
    fn start(name: &str, parameters: &Parameters<'_>) -> Option<Result<Box<dyn Running>, Failure>>;
}

/// An instance of a plugin of operators: one of them, once it was started.
pub struct OperatorModule<S> {
    running: Option<Box<dyn Running>>,
    set: PhantomData<S>,
}

impl<S> Default for OperatorModule<S> {
    fn default() -> Self {
        Self { running: None, set: PhantomData }
    }
}

impl<S> std::fmt::Debug for OperatorModule<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorModule").field("running", &self.running.is_some()).finish()
    }
}

impl<S: OperatorSet> Instance for OperatorModule<S> {
    fn answer(&mut self, host: &Host<'_>, request: request::Reader<'_>) -> Result<Vec<u8>, Failure> {
        self.answer_laid(host, request, None)
    }

    fn handle(&mut self, host: &Host<'_>, request: &[u8]) -> Vec<u8> {
        handled(request, |reader| self.answer_laid(host, reader, laid_events(request)))
    }
}

impl<S: OperatorSet> OperatorModule<S> {
    /// Answers a request. `laid` is the list of events in it, if it has one that can be read by its layout alone.
    fn answer_laid(
        &mut self,
        host: &Host<'_>,
        request: request::Reader<'_>,
        laid: Option<Structs<'_>>,
    ) -> Result<Vec<u8>, Failure> {
        match request.which() {
            Ok(request::Start(start)) => {
                let start = start?;
                if self.running.is_some() {
                    return Err(Failure::invalid("this instance was started before; start a new one"));
                }
                let name = start.get_operator()?;
                let name =
                    name.to_str().map_err(|_| Failure::malformed("the operator's name is not UTF-8"))?;
                let parameters = Parameters::read(start.get_parameters()?)?;
                let started = S::start(name, &parameters).ok_or_else(|| no_such_operator(name))?;
                self.running = Some(started?);
                Ok(write_done())
            }
            Ok(request::OnBatch(batch)) => {
                let batch = batch?;
                let (port, batch) = (batch.get_port(), Batch::read(batch, laid)?);
                let emitted = self.running()?.on_batch(host, port, &batch)?;
                emit(&emitted, Some(&batch))
            }
            Ok(request::OnWatermark(time)) => {
                let emitted = self.running()?.on_watermark(host, time)?;
                emit(&emitted, None)
            }
            Ok(request::Snapshot(())) => Ok(write_state(&self.running()?.snapshot())),
            Ok(request::Restore(state)) => {
                self.running()?.restore(state?)?;
                Ok(write_done())
            }
            Ok(
                request::Verify(_)
                | request::Sign(_)
                | request::Origin(_)
                | request::Seal(_)
                | request::Open(_)
                | request::Wrap(_)
                | request::Unwrap(_)
                | request::Append(_)
                | request::Sync(())
                | request::Query(_)
                | request::Fetch(_)
                | request::Trim(_),
            )
            | Err(_) => Err(not_known("of operators")),
        }
    }
}

impl<S> OperatorModule<S> {
    fn running(&mut self) -> Result<&mut dyn Running, Failure> {
        match &mut self.running {
            Some(running) => Ok(running.as_mut()),
            None => Err(Failure::invalid("this instance is not started; `start` comes first")),
        }
    }
}

/// The events of `onBatch`.
fn laid_events(request: &[u8]) -> Option<Structs<'_>> {
    let root = Words::of(request)?.root()?;
    let batch = (root.u16(0) == tags::ON_BATCH).then(|| root.fields(0)).flatten()?;
    (batch.u16(2) == tags::EVENTS).then(|| batch.structs(1)).flatten()
}

fn emit(rows: &[Rows], batch: Option<&Batch<'_>>) -> Result<Vec<u8>, Failure> {
    for (index, rows) in rows.iter().enumerate() {
        if let Some((list, count)) = rows.misfit() {
            let timestamps = rows.timestamps.len();
            return Err(Failure::internal(format!(
                "in batch {index} that the operator gave, {list} has {count} values for {timestamps} timestamps"
            )));
        }
    }
    write_emitted(rows, batch)
}

fn no_such_operator(name: &str) -> Failure {
    let shown: String = name.chars().take(64).collect();
    Failure::invalid(format!("this plugin has no operator {shown:?}; its manifest names those that it has"))
}

fn write_done() -> Vec<u8> {
    mainstem_plugin_abi::write::<reply::Owned>(8, |mut reply: reply::Builder<'_>| reply.set_done(()))
}

fn write_state(state: &[u8]) -> Vec<u8> {
    mainstem_plugin_abi::write::<reply::Owned>(8 + state.len() / 8, |mut reply: reply::Builder<'_>| {
        reply.set_state(state);
    })
}
