use super::Item;
use crate::{
    Batch, Column, Failure, KeptRecord, OpenFault, Opened, Origin, Plain, Query, Record, Records, RowContent,
    RowValues, Rows, Sealed, Verdict,
};
use mainstem_plugin_abi::plugin_capnp::{self, opened, port_batch, record, reply, request};

fn request(words: usize, fill: impl FnOnce(request::Builder<'_>)) -> Vec<u8> {
    mainstem_plugin_abi::write::<request::Owned>(words, fill)
}

pub(super) fn verify(items: &[Item]) -> Vec<u8> {
    request(8 + items.len() * 64, |request| {
        let mut to = request.init_verify(items.len() as u32);
        for (index, item) in items.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            to.set_header(&item.header);
            to.set_batch_id(&item.batch_id);
            to.set_origin_type(item.origin_type);
            to.set_origin(&item.origin);
            to.set_timestamp(item.timestamp);
            to.set_signature(&item.signature);
        }
    })
}

pub(super) fn sign(key: &[u8], batch_ids: &[&[u8]]) -> Vec<u8> {
    request(16 + batch_ids.len() * 5, |request| {
        let mut sign = request.init_sign();
        sign.set_key(key);
        let mut to = sign.init_batch_ids(batch_ids.len() as u32);
        for (index, id) in batch_ids.iter().enumerate() {
            to.set(index as u32, id);
        }
    })
}

pub(super) fn whose(key: &[u8]) -> Vec<u8> {
    request(16 + key.len() / 8, |mut request| request.set_origin(key))
}

pub(super) fn seal(key: &[u8], items: &[Plain<'_>]) -> Vec<u8> {
    let words = items.iter().map(|item| 16 + (item.associated.len() + item.content.len()) / 8).sum::<usize>();
    request(16 + key.len() / 8 + words, |request| {
        let mut seal = request.init_seal();
        seal.set_key(key);
        let mut to = seal.init_items(items.len() as u32);
        for (index, item) in items.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            to.set_nonce(item.nonce);
            to.set_associated(item.associated);
            to.set_content(item.content);
        }
    })
}

pub(super) fn open(key: &[u8], items: &[Sealed<'_>]) -> Vec<u8> {
    let words = items.iter().map(|item| 8 + (item.associated.len() + item.sealed.len()) / 8).sum::<usize>();
    request(16 + key.len() / 8 + words, |request| {
        let mut open = request.init_open();
        open.set_key(key);
        let mut to = open.init_items(items.len() as u32);
        for (index, item) in items.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            to.set_associated(item.associated);
            to.set_sealed(item.sealed);
        }
    })
}

pub(super) fn wrap(key: &[u8], recipients: &[&[u8]], random: &[u8]) -> Vec<u8> {
    request(64 + recipients.len() * 16, |request| {
        let mut wrap = request.init_wrap();
        wrap.set_key(key);
        wrap.set_random(random);
        let mut to = wrap.init_recipients(recipients.len() as u32);
        for (index, recipient) in recipients.iter().enumerate() {
            to.set(index as u32, recipient);
        }
    })
}

pub(super) fn unwrap(private_key: &[u8], wrapped: &[u8]) -> Vec<u8> {
    request(16 + (private_key.len() + wrapped.len()) / 8, |request| {
        let mut unwrap = request.init_unwrap();
        unwrap.set_private_key(private_key);
        unwrap.set_wrapped(wrapped);
    })
}

pub(super) fn start(operator: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    request(16 + parameters.len() * 8, |request| {
        let mut start = request.init_start();
        start.set_operator(operator);
        let mut to = start.init_parameters(parameters.len() as u32);
        for (index, (name, value)) in parameters.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            to.set_name(*name);
            to.set_value(*value);
        }
    })
}

pub(super) fn append(records: &[Record<'_>]) -> Vec<u8> {
    let words = records.iter().map(|record| 8 + record.value.len() / 8).sum::<usize>();
    request(16 + words, |request| {
        let mut to = request.init_append(records.len() as u32);
        for (index, record) in records.iter().enumerate() {
            let mut to = to.reborrow().get(index as u32);
            to.set_place(record.place);
            to.set_timestamp(record.timestamp);
            to.set_value(record.value);
        }
    })
}

pub(super) fn sync() -> Vec<u8> {
    request(8, |mut request| request.set_sync(()))
}

pub(super) fn query(query: &Query) -> Vec<u8> {
    let in_32_bits = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    request(16, |request| {
        let mut to = request.init_query();
        to.set_from(query.from);
        to.set_until(query.until);
        to.set_records_max(in_32_bits(query.records_max));
        to.set_bytes_max(in_32_bits(query.bytes_max));
        to.set_prefix_bytes(in_32_bits(query.prefix_bytes));
    })
}

pub(super) fn fetch(places: &[u64]) -> Vec<u8> {
    request(16 + places.len(), |request| {
        let mut to = request.init_fetch(places.len() as u32);
        places.iter().enumerate().for_each(|(index, place)| to.set(index as u32, *place));
    })
}

pub(super) fn trim(places: &[u64]) -> Vec<u8> {
    request(16 + places.len(), |request| {
        let mut to = request.init_trim(places.len() as u32);
        places.iter().enumerate().for_each(|(index, place)| to.set(index as u32, *place));
    })
}

pub(super) fn on_batch(rows: &Rows) -> Result<Vec<u8>, Failure> {
    let content = rows.content(None)?;
    Ok(request(8 + rows.words(&content), |request| rows.write(&content, request.init_on_batch())))
}

pub(super) fn on_watermark(time: i64) -> Vec<u8> {
    request(8, |mut request| request.set_on_watermark(time))
}

pub(super) fn snapshot() -> Vec<u8> {
    request(8, |mut request| request.set_snapshot(()))
}

pub(super) fn restore(state: &[u8]) -> Vec<u8> {
    request(8 + state.len() / 8, |mut request| request.set_restore(state))
}

pub(super) fn verdicts(reply: &[u8]) -> Result<Vec<Verdict>, Failure> {
    read(reply, |reply| {
        let reply::Verdicts(verdicts) = reply else { return None };
        // A verdict that is new to us counts as the last resort.
        Some(verdicts.map(|of| of.iter().map(|verdict| verdict.unwrap_or(Verdict::Invalid)).collect()))
    })
}

pub(super) fn signatures(reply: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    read(reply, |reply| {
        let reply::Signatures(signatures) = reply else { return None };
        Some(signatures.and_then(|of| of.iter().map(|signature| Ok(signature?.to_vec())).collect()))
    })
}

pub(super) fn origin(reply: &[u8]) -> Result<Origin, Failure> {
    read(reply, |reply| {
        let reply::Origin(origin) = reply else { return None };
        Some(origin.and_then(|origin| {
            Ok(Origin { origin_type: origin.get_type(), value: origin.get_value()?.to_vec() })
        }))
    })
}

pub(super) fn sealed(reply: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    read(reply, |reply| {
        let reply::Sealed(sealed) = reply else { return None };
        Some(sealed.and_then(|of| of.iter().map(|sealed| Ok(sealed?.to_vec())).collect()))
    })
}

pub(super) fn opened(reply: &[u8]) -> Result<Vec<Opened>, Failure> {
    read(reply, |reply| {
        let reply::Opened(opened) = reply else { return None };
        let one = |opened: opened::Reader<'_>| {
            Ok(match opened.which() {
                Ok(opened::Content(content)) => Ok(content?.to_vec()),
                Ok(opened::Fault(fault)) => Err(fault.unwrap_or(OpenFault::Forged)),
                Err(_) => Err(OpenFault::Forged),
            })
        };
        Some(opened.and_then(|of| of.iter().map(one).collect()))
    })
}

pub(super) fn wrapped(reply: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    read(reply, |reply| {
        let reply::Wrapped(wrapped) = reply else { return None };
        Some(wrapped.and_then(|of| of.iter().map(|wrapped| Ok(wrapped?.to_vec())).collect()))
    })
}

pub(super) fn unwrapped(reply: &[u8]) -> Result<Vec<u8>, Failure> {
    read(reply, |reply| {
        let reply::Unwrapped(key) = reply else { return None };
        Some(key.map(<[u8]>::to_vec))
    })
}

pub(super) fn records(reply: &[u8]) -> Result<Records, Failure> {
    read(reply, |reply| {
        let reply::Records(found) = reply else { return None };
        let records = |found: plugin_capnp::records::Reader<'_>| {
            let record = |record: record::Reader<'_>| {
                let (place, timestamp) = (record.get_place(), record.get_timestamp());
                Ok(KeptRecord { place, timestamp, value: record.get_value()?.to_vec() })
            };
            let records = found.get_records()?.iter().map(record).collect::<Result<_, capnp::Error>>()?;
            let damaged = found.get_damaged()?.iter().collect();
            Ok(Records { records, next: found.get_next(), damaged })
        };
        Some(found.and_then(records))
    })
}

pub(super) fn done(reply: &[u8]) -> Result<(), Failure> {
    read(reply, |reply| matches!(reply, reply::Done(())).then_some(Ok(())))
}

pub(super) fn state(reply: &[u8]) -> Result<Vec<u8>, Failure> {
    read(reply, |reply| {
        let reply::State(state) = reply else { return None };
        Some(state.map(<[u8]>::to_vec))
    })
}

pub(super) fn emitted(reply: &[u8]) -> Result<Vec<Rows>, Failure> {
    read(reply, |reply| {
        let reply::Emitted(batches) = reply else { return None };
        Some(batches.map(|of| of.iter().map(rows).collect()))
    })?
}

fn rows(from: port_batch::Reader<'_>) -> Result<Rows, Failure> {
    let batch = Batch::read(from, None)?;
    let timestamps = batch.timestamps().iter().collect();
    let content = if batch.has_events() {
        let events = batch.events()?;
        RowContent::Events(events.iter().map(|event| (event.content_type, event.content.to_vec())).collect())
    } else {
        let columns = (0..batch.columns()).map(|index| values(batch.column(index)?));
        RowContent::Columns(columns.collect::<Result<_, Failure>>()?)
    };
    Ok(Rows { port: from.get_port(), timestamps, content })
}

fn values(column: Column<'_>) -> Result<RowValues, Failure> {
    Ok(match column {
        Column::Int64(values) => RowValues::Int64(values.iter().collect()),
        Column::Float64(values) => RowValues::Float64(values.iter().collect()),
        Column::Text(values) => {
            let texts = (0..values.len()).map(|index| values.get(index).map(str::to_owned));
            RowValues::Text(texts.collect::<Result<_, _>>()?)
        }
        Column::Data(values) => {
            let datas = (0..values.len()).map(|index| values.get(index).map(<[u8]>::to_vec));
            RowValues::Data(datas.collect::<Result<_, _>>()?)
        }
    })
}

fn read<T>(
    reply: &[u8],
    take: impl FnOnce(reply::WhichReader<'_>) -> Option<Result<T, capnp::Error>>,
) -> Result<T, Failure> {
    let message = mainstem_plugin_abi::read(reply)?;
    match message.get_root::<reply::Reader<'_>>()?.which() {
        Ok(reply::Failed(failure)) => Err(Failure::read(failure?)),
        Ok(other) => {
            let taken = take(other)
                .ok_or_else(|| Failure::internal("the plugin gave a reply that belongs to another call"))?;
            Ok(taken?)
        }
        Err(_) => Err(Failure::internal("the plugin gave a reply that this version does not know")),
    }
}
