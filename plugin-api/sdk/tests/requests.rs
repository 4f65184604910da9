//! Requests that no plugin of this kind knows, that come too early, or that are none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_plugin_abi::plugin_capnp::{reply, request};
use mainstem_plugin_sdk::{
    Batch, Failure, FailureCode, Host, KeptRecord, LogLevel, Operator, Parameters, Query, Record, Records,
    RowContent, RowValues, Rows, Signature, Signed, Storage, Verdict,
    harness::{Harness, Item, Node},
};

mod lazy {
    use super::*;

    /// Gives no verdicts at all, which is its fault.
    pub(crate) struct Lazy;

    impl Signature for Lazy {
        fn verify(_: &Host<'_>, _: &[Signed<'_>]) -> Result<Vec<Verdict>, Failure> {
            Ok(Vec::new())
        }
    }

    mainstem_plugin_sdk::signature!(Lazy);
}

mod two {
    use super::*;

    /// Gives rows back as they came, of every type.
    pub(crate) struct Pass;

    impl Operator for Pass {
        const NAME: &'static str = "pass";

        fn start(_: &Parameters<'_>) -> Result<Self, Failure> {
            Ok(Self)
        }

        fn on_batch(&mut self, _: &Host<'_>, port: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
            let timestamps = batch.timestamps().iter().collect();
            if batch.has_events() {
                let events = batch.events()?;
                let events = events.iter().map(|event| (event.content_type, event.content.to_vec()));
                return Ok(vec![Rows::events(port, timestamps, events.collect())]);
            }
            let (texts, datas) = (batch.text(2)?, batch.data(3)?);
            let texts = (0..texts.len()).map(|index| Ok(texts.get(index)?.to_owned()));
            let datas = (0..datas.len()).map(|index| Ok(datas.get(index)?.to_vec()));
            let columns = vec![
                RowValues::Int64(batch.int64(0)?.iter().collect()),
                RowValues::Float64(batch.float64(1)?.iter().collect()),
                RowValues::Text(texts.collect::<Result<_, Failure>>()?),
                RowValues::Data(datas.collect::<Result<_, Failure>>()?),
            ];
            Ok(vec![Rows::columns(port, timestamps, columns)])
        }
    }

    /// Gives a column that is too short, and says what it knows of the world.
    pub(crate) struct Odd;

    impl Operator for Odd {
        const NAME: &'static str = "odd";

        fn start(_: &Parameters<'_>) -> Result<Self, Failure> {
            Ok(Self)
        }

        fn on_batch(&mut self, _: &Host<'_>, _: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
            let timestamps = batch.timestamps().iter().collect();
            Ok(vec![Rows::columns(0, timestamps, vec![RowValues::Int64(Vec::new())])])
        }

        fn on_watermark(&mut self, host: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure> {
            let random = host.random(4)?;
            let digests = [host.sha256(&[b"abc", b""])?, host.keccak256(&[b"abc"])?].concat();
            host.log(LogLevel::Info, &format!("{} digests at {time}", digests.len()))?;
            let column = RowValues::Data(vec![random, digests.concat()]);
            Ok(vec![Rows::columns(0, vec![host.now()?, time], vec![column])])
        }
    }

    /// Passes the rows on that it was started with, by their numbers; without a watermark's batch it cannot.
    pub(crate) struct Choose(Vec<u32>);

    impl Operator for Choose {
        const NAME: &'static str = "choose";

        fn start(parameters: &Parameters<'_>) -> Result<Self, Failure> {
            let rows = parameters.text("rows")?.split(' ').filter(|row| !row.is_empty());
            Ok(Self(rows.map(|row| row.parse().unwrap()).collect()))
        }

        fn on_batch(&mut self, _: &Host<'_>, port: u16, batch: &Batch<'_>) -> Result<Vec<Rows>, Failure> {
            Ok(vec![Rows::passed(port, batch, self.0.clone())])
        }

        fn on_watermark(&mut self, _: &Host<'_>, time: i64) -> Result<Vec<Rows>, Failure> {
            Ok(vec![Rows { port: 0, timestamps: vec![time], content: RowContent::Passed(vec![0]) }])
        }
    }

    mainstem_plugin_sdk::operators!(Pass, Odd, Choose);
}

mod kept {
    use super::*;

    /// Keeps each record in a file of its own.
    pub(crate) struct Each;

    impl Storage for Each {
        fn start(host: &Host<'_>, parameters: &Parameters<'_>) -> Result<Self, Failure> {
            host.files().put("started", parameters.text("with")?.as_bytes())?;
            Ok(Self)
        }

        fn append(&mut self, host: &Host<'_>, records: &[Record<'_>]) -> Result<(), Failure> {
            for record in records {
                let size = host.files().append(&format!("{:020}", record.place), record.value)?;
                assert_eq!(size, record.value.len() as u64);
            }
            Ok(())
        }

        fn sync(&mut self, host: &Host<'_>) -> Result<(), Failure> {
            host.files().list()?.iter().try_for_each(|(name, _)| host.files().sync(name))
        }

        fn query(&mut self, host: &Host<'_>, query: &Query) -> Result<Records, Failure> {
            let mut found = Records { next: query.until, ..Records::default() };
            for (name, size) in host.files().list()? {
                let Ok(place) = name.parse() else { continue };
                if !(query.from..query.until).contains(&place) {
                    continue;
                }
                if !query.has_room(found.records.len(), 0, 0) {
                    found.next = place;
                    break;
                }
                let value =
                    host.files().read(&name, 0, usize::try_from(size).unwrap().min(query.prefix_bytes))?;
                found.records.push(KeptRecord { place, timestamp: 0, value });
            }
            Ok(found)
        }

        fn fetch(&mut self, host: &Host<'_>, places: &[u64]) -> Result<Records, Failure> {
            let (mut found, files) = (Records::default(), host.files());
            for place in places {
                let name = format!("{place:020}");
                match files.size(&name)? {
                    0 => found.damaged.push(*place),
                    size => {
                        let value = files.read(&name, 0, size as usize + 1)?;
                        found.records.push(KeptRecord { place: *place, timestamp: 0, value });
                    }
                }
            }
            Ok(found)
        }

        fn trim(&mut self, host: &Host<'_>, places: &[u64]) -> Result<(), Failure> {
            let [first, rest @ ..] = places else { return Ok(()) };
            host.files().cut(&format!("{first:020}"), 1)?;
            rest.iter().try_for_each(|place| host.files().delete(&format!("{place:020}")))
        }
    }

    mainstem_plugin_sdk::storage!(Each);
}

fn code(reply: &[u8]) -> FailureCode {
    let message = mainstem_plugin_abi::read(reply).unwrap();
    match message.get_root::<reply::Reader<'_>>().unwrap().which() {
        Ok(reply::Failed(failure)) => failure.unwrap().get_code().unwrap(),
        _ => panic!("it is no failure"),
    }
}

fn request(fill: impl FnOnce(request::Builder<'_>)) -> Vec<u8> {
    mainstem_plugin_abi::write::<request::Owned>(8, fill)
}

fn both(request: &[u8]) -> [FailureCode; 2] {
    let signature = Harness::<lazy::Plugin>::default().call(request);
    let operators = Harness::<two::Plugin>::default().call(request);
    [code(&signature), code(&operators)]
}

/// Rows with a column of each type.
fn rows() -> Rows {
    let columns = vec![
        RowValues::Int64(vec![i64::MIN, 7]),
        RowValues::Float64(vec![-0.0, f64::INFINITY]),
        RowValues::Text(vec![String::new(), "ärmel".into()]),
        RowValues::Data(vec![vec![0; 9], vec![]]),
    ];
    Rows::columns(3, vec![5, -5], columns)
}

#[test]
fn a_request_that_is_new_is_unsupported() {
    // The union's tag is the first two bytes of the struct, behind the root pointer.
    let mut new = request(|mut request| request.set_snapshot(()));
    let tag = new.iter().skip(8).position(|byte| *byte == 5).unwrap() + 8;
    new[tag] = 99;
    assert_eq!(both(&new), [FailureCode::Unsupported; 2]);
}

#[test]
fn a_request_of_the_other_kind_is_unsupported() {
    let verify = request(|request| _ = request.init_verify(0));
    assert_eq!(code(&Harness::<two::Plugin>::default().call(&verify)), FailureCode::Unsupported);
    let start = request(|request| _ = request.init_start());
    assert_eq!(code(&Harness::<lazy::Plugin>::default().call(&start)), FailureCode::Unsupported);
    let sign = Harness::<lazy::Plugin>::default().sign(&[], &[]).unwrap_err();
    assert_eq!(sign.code, FailureCode::Unsupported);
}

#[test]
fn what_is_no_message_is_malformed() {
    for garbage in [&[][..], &[0; 7], &[255; 8], &[255; 64], &[1, 0, 0, 0, 0, 0, 0, 255]] {
        assert_eq!(both(garbage), [FailureCode::Malformed; 2], "{garbage:?}");
    }
    let items = [Item { batch_id: vec![1; 31], ..Item::default() }];
    let failure = Harness::<lazy::Plugin>::default().verify(&items).unwrap_err();
    assert_eq!(failure.message, "a batch id has 31 bytes; it must be the 32 of a SHA-256");
}

#[test]
fn no_bit_that_flips_and_no_cut_does_harm() {
    let start = request(|request| request.init_start().set_operator("pass"));
    let whole = request(|request| {
        let mut batch = request.init_on_batch();
        batch.reborrow().init_timestamps(2).set(0, 5);
        let mut columns = batch.init_columns(4);
        columns.reborrow().get(0).init_int64(2);
        columns.reborrow().get(1).init_float64(2);
        columns.reborrow().get(2).init_text(2).set(0, "text");
        columns.reborrow().get(3).init_data(2).set(1, b"data");
    });
    let answer = |bytes: &[u8]| {
        let mut harness = Harness::<two::Plugin>::default();
        harness.call(&start);
        mainstem_plugin_abi::read(&harness.call(bytes)).unwrap().get_root::<reply::Reader<'_>>().unwrap();
        Harness::<lazy::Plugin>::default().call(bytes);
    };
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        answer(&bytes);
    }
    for length in 0..whole.len() {
        answer(&whole[..length]);
    }
}

#[test]
fn verdicts_that_are_too_few_are_the_plugin_s_own_fault() {
    let items = [Item { batch_id: vec![0; 32], ..Item::default() }];
    let failure = Harness::<lazy::Plugin>::default().verify(&items).unwrap_err();
    assert_eq!(failure.code, FailureCode::Internal);
    assert_eq!(Harness::<lazy::Plugin>::default().verify(&[]), Ok(vec![]));
}

#[test]
fn an_operator_is_started_once_before_anything_else() {
    let mut harness = Harness::<two::Plugin>::default();
    assert_eq!(harness.snapshot().unwrap_err().code, FailureCode::Invalid);
    assert!(harness.start("third", &[]).unwrap_err().message.contains("no operator \"third\""));
    harness.start("pass", &[]).unwrap();
    assert_eq!(harness.start("pass", &[]).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(harness.snapshot(), Ok(vec![]));
    assert_eq!(harness.restore(&[]), Ok(()));
    assert_eq!(harness.restore(&[1]).unwrap_err().code, FailureCode::Invalid);
}

#[test]
fn rows_of_every_type_come_and_go_as_they_are() {
    let mut harness = Harness::<two::Plugin>::default();
    harness.start("pass", &[]).unwrap();
    assert_eq!(harness.on_batch(&rows()), Ok(vec![rows()]));
    let events = Rows::events(0, vec![1], vec![(300, b"event".to_vec())]);
    assert_eq!(harness.on_batch(&events), Ok(vec![events]));
}

fn choose(rows: &str) -> Harness<two::Plugin> {
    let mut harness = Harness::<two::Plugin>::default();
    harness.start("choose", &[("rows", rows)]).unwrap();
    harness
}

#[test]
fn rows_that_are_passed_on_are_those_of_the_batch_in_the_order_that_is_given() {
    let events = vec![(1, b"one".to_vec()), (2, vec![]), (3, b"three and more".to_vec())];
    let events = Rows::events(0, vec![10, 20, 30], events);
    let last_and_first =
        vec![(3, b"three and more".to_vec()), (1, b"one".to_vec()), (3, b"three and more".to_vec())];
    let last_and_first = Rows::events(0, vec![30, 10, 30], last_and_first);
    assert_eq!(choose("2 0 2").on_batch(&events), Ok(vec![last_and_first]));
    assert_eq!(choose("").on_batch(&events), Ok(vec![Rows::events(0, vec![], vec![])]));

    let all: Vec<_> = (0..rows().timestamps.len()).map(|row| row.to_string()).collect();
    assert_eq!(choose(&all.join(" ")).on_batch(&rows()), Ok(vec![rows()]));
    let given = choose("1").on_batch(&rows()).unwrap();
    assert_eq!(given[0].timestamps, [rows().timestamps[1]]);
}

#[test]
fn rows_that_the_batch_does_not_have_are_not_passed_on() {
    let events = Rows::events(0, vec![10], vec![(1, b"one".to_vec())]);
    assert_eq!(choose("0 1").on_batch(&events).unwrap_err().code, FailureCode::Internal);
    assert_eq!(choose("9").on_batch(&rows()).unwrap_err().code, FailureCode::Internal);
    let failure = choose("0").on_watermark(5).unwrap_err();
    assert!(failure.message.contains("was given none"), "{failure:?}");
}

#[test]
fn counts_that_do_not_fit_are_told_on_both_sides() {
    let mut short = rows();
    short.timestamps.pop();
    let mut harness = Harness::<two::Plugin>::default();
    harness.start("pass", &[]).unwrap();
    assert_eq!(harness.on_batch(&short).unwrap_err().code, FailureCode::Malformed);
    let mut odd = Harness::<two::Plugin>::default();
    odd.start("odd", &[]).unwrap();
    assert_eq!(odd.on_batch(&rows()).unwrap_err().code, FailureCode::Internal);
}

#[test]
fn the_node_is_asked_and_its_answers_are_read() {
    let mut harness = Harness::<two::Plugin>::default();
    harness.node.now_ms = 42;
    harness.start("odd", &[]).unwrap();
    let given = harness.on_watermark(9).unwrap().remove(0);
    assert_eq!(given.timestamps, [42, 9]);
    let RowContent::Columns(columns) = given.content else { panic!("they are columns") };
    let [RowValues::Data(datas)] = &columns[..] else { panic!("it is one column of bytes") };
    assert_eq!(datas[0].len(), 4);
    assert_eq!(
        hex::encode(&datas[1]),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\
         4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    );
    assert_eq!(*harness.node.log.borrow(), [(LogLevel::Info, "3 digests at 9".to_owned())]);
    harness.node.granted.clear();
    assert_eq!(harness.on_watermark(9).unwrap_err().code, FailureCode::Denied);
}

fn storage(node: Node) -> Harness<kept::Plugin> {
    let mut harness = Harness::<kept::Plugin>::new(node);
    harness.start("", &[("with", "this")]).unwrap();
    harness
}

const ALL: Query = Query { from: 0, until: 10, records_max: 2, bytes_max: 100, prefix_bytes: 3 };

#[test]
fn records_come_and_go_as_they_are_and_files_are_those_of_the_node() {
    let mut harness = storage(Node::default());
    assert_eq!(harness.node.files.now.borrow()["started"], b"this");
    let long = vec![7; 3 << 20];
    let record = |place, value| Record { place, timestamp: -5, value };
    harness.append(&[record(1, b"one"), record(2, b"two2"), record(5, &long)]).unwrap();
    let found = harness.query(&ALL).unwrap();
    let places: Vec<_> = found.records.iter().map(|record| (record.place, &record.value[..])).collect();
    assert_eq!((places, found.next), (vec![(1, &b"one"[..]), (2, b"two")], 5));
    let found = harness.fetch(&[5, 9]).unwrap();
    // It is read in more than one request.
    assert!(found.records[0].value == long && found.damaged == [9], "{:?}", found.damaged);
    harness.sync().unwrap();
    harness.append(&[record(7, b"lost")]).unwrap();
    harness.trim(&[1, 2]).unwrap();
    assert_eq!(harness.fetch(&[1, 2]).unwrap().damaged, [2]);
    let files = harness.node.files.without_power();
    let mut harness = storage(Node { files, ..Node::default() });
    let found = harness.fetch(&[1, 2, 7]).unwrap();
    let values: Vec<_> = found.records.into_iter().map(|record| record.value).collect();
    assert_eq!((values, found.damaged), (vec![b"one".to_vec(), b"two2".to_vec()], vec![7]));
}

#[test]
fn a_storage_is_started_once_before_anything_else_and_takes_places_that_rise() {
    let mut harness = Harness::<kept::Plugin>::default();
    for early in [harness.sync(), harness.append(&[]), harness.trim(&[])] {
        assert_eq!(early.unwrap_err().code, FailureCode::Invalid);
    }
    assert_eq!(harness.query(&ALL).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(harness.start("", &[]).unwrap_err().code, FailureCode::Invalid);
    let mut harness = storage(Node::default());
    assert_eq!(harness.start("", &[("with", "")]).unwrap_err().code, FailureCode::Invalid);
    let record = |place| Record { place, timestamp: 0, value: b"" };
    assert_eq!(harness.append(&[record(3), record(3)]).unwrap_err().code, FailureCode::Invalid);
    assert_eq!(harness.snapshot().unwrap_err().code, FailureCode::Unsupported);
    let node = Node { granted: Vec::new(), ..Node::default() };
    let denied = Harness::<kept::Plugin>::new(node).start("", &[("with", "")]).unwrap_err();
    assert_eq!(denied.code, FailureCode::Denied);
}
