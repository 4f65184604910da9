use crate::cli::{
    context::{Context, StreamName, parse_partition},
    failure::{DATA, Failure},
    http, key, progress, time,
};
use crate::replay::LAST_ACKS;
use anyhow::Context as _;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use clap::Args;
use mainstem_client::{Client, PublishConfig, PublishReceipt, Publisher};
use mainstem_model::{
    Ack, ContentType, EncryptionType, NewEvent, Partition, PartitionKey, StreamId, limits::CONTENT_BYTES_MAX,
};
use mainstem_protocol::Config;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::PathBuf,
    process::ExitCode,
};
use tokio::{sync::mpsc, time::timeout};

/// Lines read ahead of publishing.
const LINES_AHEAD: usize = 64;
/// Bytes of a line: the largest content, as base64 or with JSON around it.
const LINE_BYTES_MAX: usize = 2 * CONTENT_BYTES_MAX + 4096;

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Which stream; #2 behind it is --partition 2
    stream: StreamName,
    /// To which partition [default: 0]
    #[arg(short, long, value_parser = parse_partition, conflicts_with = "partition_key_field")]
    partition: Option<Partition>,
    /// Field whose value, a text or a whole number, chooses the partition: one key, one partition, in order
    #[arg(short = 'k', long, value_name = "FIELD")]
    partition_key_field: Option<String>,
    /// What to wait for: accepted (proven), stored (outlives the program), durable (outlives the power); 'durable(2)' waits for
    /// two of the network's brokers
    #[arg(long, default_value = "stored")]
    ack: Ack,
    /// Lines are base64; the events are binary
    #[arg(short, long, conflicts_with_all = ["raw", "with_metadata", "partition_key_field"])]
    binary: bool,
    /// Lines are published as text, as they are
    #[arg(short, long, conflicts_with_all = ["with_metadata", "partition_key_field"])]
    raw: bool,
    /// Lines are {"content": ..., "metadata": {"timestamp": ms}}
    #[arg(short = 'm', long)]
    with_metadata: bool,
    /// Seal the events with the content key in this file (`mainstem key new`)
    #[arg(long, value_name = "FILE")]
    content_key: Option<PathBuf>,
    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How far a timestamp may be from now, as the node says; no bound before it was asked.
    #[arg(skip)]
    window_ms: Option<u64>,
}

/// A line of input with its number, from 1.
struct Line {
    number: u64,
    bytes: Vec<u8>,
    is_cut: bool,
}

pub(super) async fn run(mut args: PublishArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let out = context.out;
    context.need_signer()?;
    let partition = args.stream.partition(args.partition)?;
    let (input, length) = open(&args)?;
    let stream = context.resolve(&args.stream).await?;
    let partitions = match args.partition_key_field {
        Some(_) => super::record(context, stream).await?.partitions,
        None => 1,
    };
    let keys = key::read(args.content_key.as_slice(), stream)?;
    let publish = PublishConfig { ack: args.ack, ..PublishConfig::default() };
    let client = context.connect_with(publish, keys).await?;
    if args.with_metadata {
        args.window_ms = Some(window_ms(context).await);
    }
    let mut publishers = Publishers { client: &client, stream, by_partition: BTreeMap::new() };

    // The reader may wait for a terminal for ever; when this function ends, nobody waits for it.
    let (lines, mut coming) = mpsc::channel(LINES_AHEAD);
    std::thread::Builder::new().name("mainstem-stdin".into()).spawn(move || read_lines(input, &lines))?;
    let has_terminal = out.shows_progress() && !(args.file.is_none() && io::stdin().is_terminal());
    let bar = progress::bytes(has_terminal, length);
    let (mut published, mut refused) = (0_u64, 0_u64);
    let work = async {
        while let Some(line) = coming.recv().await {
            let Line { number, bytes, is_cut } = line.context("reading the input")?;
            bar.inc(bytes.len() as u64 + 1);
            if bytes.iter().all(u8::is_ascii_whitespace) && !args.raw {
                continue;
            }
            let event = if is_cut {
                Err(format!("it is longer than {LINE_BYTES_MAX} bytes"))
            } else {
                read_event(bytes, &args, partition, partitions)
            };
            match event {
                Ok((partition, event)) => {
                    publishers.publish(partition, event).await.context("publishing")?;
                    published += 1;
                }
                Err(why) => {
                    refused += 1;
                    let text = format!("line {number}: {why}");
                    let object = json!({"error": {"code": "INVALID_DATA", "message": text, "line": number}});
                    bar.suspend(|| out.notice(&object, &text));
                }
            }
        }
        publishers.flush().await
    };
    // Over all of it: while the broker is away both handing in and the last acks wait.
    let interrupted = tokio::select! {
        done = work => { done?; false }
        () = crate::interrupts::interrupted() => true,
    };
    if interrupted && let Ok(flushed) = timeout(LAST_ACKS, publishers.flush()).await {
        flushed?;
    }
    let unacked = publishers.unacked();
    bar.finish_and_clear();
    let object =
        json!({"stream": stream.to_string(), "published": published, "refused": refused, "unacked": unacked});
    out.result(&object, &format!("published {published} events"))?;
    if unacked > 0 {
        let text = format!("{unacked} of {published} events were not acked; they may be lost");
        return Err(Failure::unavailable(text).into());
    }
    if refused > 0 {
        let text = format!("{refused} lines were not published");
        return Err(Failure::new(DATA, "INVALID_DATA", text).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// One publisher a partition, begun when first needed, with the receipts of what it has not seen acked.
struct Publishers<'a> {
    client: &'a Client,
    stream: StreamId,
    by_partition: BTreeMap<u16, (Publisher, VecDeque<PublishReceipt>)>,
}

impl Publishers<'_> {
    async fn publish(&mut self, partition: Partition, event: NewEvent) -> anyhow::Result<()> {
        let (publisher, receipts) = match self.by_partition.entry(partition.number()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let publisher = self.client.publisher(self.stream.partition(partition))?;
                place.insert((publisher, VecDeque::new()))
            }
        };
        receipts.push_back(publisher.publish(event).await?);
        // Acks come in order, so as many receipts are kept as the publisher's buffer has events.
        while receipts.front().is_some_and(|first| first.outcome().is_some()) {
            receipts.pop_front();
        }
        Ok(())
    }

    async fn flush(&self) -> anyhow::Result<()> {
        for (publisher, _) in self.by_partition.values() {
            publisher.flush().await.context("publishing")?;
        }
        Ok(())
    }

    /// Events that were handed in and are not known to be acked.
    fn unacked(&self) -> usize {
        let receipts = self.by_partition.values().flat_map(|(_, receipts)| receipts);
        receipts.filter(|receipt| !matches!(receipt.outcome(), Some(Ok(_)))).count()
    }
}

/// The input and, for a file, its length in bytes.
fn open(args: &PublishArgs) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    let Some(path) = &args.file else {
        return Ok((Box::new(BufReader::with_capacity(1 << 16, io::stdin())), None));
    };
    let unreadable = |error| Failure::io(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    Ok((Box::new(BufReader::with_capacity(1 << 16, file)), Some(length)))
}

fn read_lines(mut input: Box<dyn BufRead + Send>, lines: &mpsc::Sender<io::Result<Line>>) {
    for number in 1.. {
        let line = match read_line(&mut *input, LINE_BYTES_MAX) {
            Ok(Some((bytes, is_cut))) => Ok(Line { number, bytes, is_cut }),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_last = line.is_err();
        if lines.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}

/// A line without its end, and whether it was cut at `max` bytes. The rest of a cut line is passed over.
fn read_line(input: &mut dyn BufRead, max: usize) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    if Read::take(&mut *input, limit).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let is_cut = bytes.len() > max && bytes.last() != Some(&b'\n');
    if is_cut {
        bytes.truncate(max);
        input.skip_until(b'\n')?;
    } else if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Some((bytes, is_cut)))
}

/// Reads a line as an event and finds its partition. The error is the rest of a sentence about the line.
fn read_event(
    line: Vec<u8>,
    args: &PublishArgs,
    partition: Partition,
    partitions: u16,
) -> Result<(Partition, NewEvent), String> {
    let mut timestamp = time::now_ms();
    let (content_type, content) = if args.binary {
        let bytes =
            STANDARD.decode(line.trim_ascii()).map_err(|error| format!("it is not base64: {error}"))?;
        (ContentType::BINARY, bytes)
    } else if args.raw {
        String::from_utf8(line)
            .map(|text| (ContentType::TEXT, text.into_bytes()))
            .map_err(|_| "it is not UTF-8")?
    } else {
        let mut value: Value =
            serde_json::from_slice(&line).map_err(|error| format!("it is not JSON: {error}"))?;
        // Without metadata the text is published as it was written: large numbers keep every digit.
        let mut text = line.trim_ascii().to_vec();
        if args.with_metadata {
            if let Some(ms) = value.get("metadata").and_then(|metadata| metadata.get("timestamp")) {
                timestamp = ms.as_i64().ok_or("its metadata.timestamp is not milliseconds")?;
                check_timestamp(timestamp, args.window_ms)?;
            }
            value = value.get_mut("content").map(Value::take).ok_or("it has no field \"content\"")?;
            text = value.to_string().into_bytes();
        }
        if let Some(field) = &args.partition_key_field {
            let partition = partition_of(&value, field, partitions)?;
            return check_length(partition, timestamp, ContentType::JSON, text);
        }
        (ContentType::JSON, text)
    };
    check_length(partition, timestamp, content_type, content)
}

/// How far from its clock the node takes timestamps; its default where there is no listener to ask.
async fn window_ms(context: &Context) -> u64 {
    let told = match context.http() {
        Ok(base) => http::get_json(base, "/info").await.ok(),
        Err(_) => None,
    };
    let told = told.and_then(|info| info.pointer("/limits/broker/timestamp_window_ms")?.as_u64());
    told.unwrap_or(Config::default().timestamp_window_ms.unsigned_abs())
}

/// IMPORTANT: before it is handed in: the broker refuses whole batches, and with them the lines beside this one.
fn check_timestamp(timestamp: i64, window_ms: Option<u64>) -> Result<(), String> {
    let apart = time::now_ms().abs_diff(timestamp);
    match window_ms {
        Some(window_ms) if apart > window_ms => Err(format!(
            "its metadata.timestamp is {} s from now, the broker takes at most {}",
            apart / 1000,
            window_ms / 1000
        )),
        _ => Ok(()),
    }
}

fn check_length(
    partition: Partition,
    timestamp: i64,
    content_type: ContentType,
    content: Vec<u8>,
) -> Result<(Partition, NewEvent), String> {
    if content.len() > CONTENT_BYTES_MAX {
        return Err(format!("it has {} bytes, at most {CONTENT_BYTES_MAX} are allowed", content.len()));
    }
    let content = Bytes::from(content);
    Ok((partition, NewEvent { timestamp, content_type, encryption_type: EncryptionType::NONE, content }))
}

fn partition_of(value: &Value, field: &str, partitions: u16) -> Result<Partition, String> {
    let key = match value.get(field) {
        Some(Value::String(text)) => PartitionKey::Text(text.clone()),
        Some(Value::Number(number)) => PartitionKey::Number(
            number.as_i64().ok_or_else(|| format!("its field {field:?} is not a whole number"))?,
        ),
        Some(_) => return Err(format!("its field {field:?} is neither a text nor a number")),
        None => return Err(format!("it has no field {field:?}")),
    };
    Ok(Partition::of_key(&key, partitions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use mainstem_model::AckLevel;

    #[derive(Parser)]
    struct Wrap {
        #[command(flatten)]
        args: PublishArgs,
    }

    fn event(line: &str, options: &[&str]) -> Result<(u16, i64, String), String> {
        let arguments = ["publish", "0x00000000000000000000000000000000000000ff"].iter().chain(options);
        let args = Wrap::try_parse_from(arguments).unwrap().args;
        let (partition, event) = read_event(line.as_bytes().to_vec(), &args, Partition::ZERO, 10)?;
        Ok((partition.number(), event.timestamp, String::from_utf8(event.content.to_vec()).unwrap()))
    }

    #[test]
    fn an_ack_is_a_level_at_one_broker_or_more() {
        let ack = |options: &[&str]| {
            let arguments = ["publish", "0x00000000000000000000000000000000000000ff"].iter().chain(options);
            Wrap::try_parse_from(arguments).map(|wrap| wrap.args.ack).map_err(|error| error.to_string())
        };
        assert_eq!(ack(&[]), Ok(Ack::default()));
        assert_eq!(ack(&["--ack", "accepted"]), Ok(AckLevel::Accepted.into()));
        assert_eq!(ack(&["--ack", "durable(2)"]), Ok(Ack::new(AckLevel::Durable, 2)));
        for text in ["durable(0)", "durable(256)", "soon"] {
            let error = ack(&["--ack", text]).unwrap_err();
            assert!(error.contains("--ack <ACK>"), "{error}");
        }
    }

    #[test]
    fn json_is_published_as_it_was_written() {
        let line = r#" {"n":  123456789012345678901234567890}"#;
        assert_eq!(event(line, &[]).unwrap().2, line.trim());
    }

    #[test]
    fn a_key_chooses_the_partition() {
        assert_eq!(event(r#"{"k":7}"#, &["-k", "k"]).unwrap().0, 7);
        assert_eq!(event(r#"{"k":-27}"#, &["-k", "k"]).unwrap().0, 7);
        assert!(event(r#"{"k":"a"}"#, &["-k", "k"]).unwrap().0 < 10);
    }

    #[test]
    fn metadata_carries_the_timestamp() {
        let (_, timestamp, content) =
            event(r#"{"content":[1],"metadata":{"timestamp":5}}"#, &["-m"]).unwrap();
        assert_eq!((timestamp, content.as_str()), (5, "[1]"));
    }

    #[test]
    fn a_time_that_the_broker_would_refuse_is_the_lines_own_fault() {
        let now = time::now_ms();
        for (timestamp, window, is_good) in
            [(now, 60_000, true), (now - 120_000, 60_000, false), (now + 120_000, 60_000, false)]
        {
            assert_eq!(check_timestamp(timestamp, Some(window)).is_ok(), is_good, "{timestamp}");
        }
        assert!(check_timestamp(i64::MIN, Some(60_000)).is_err());
        assert!(check_timestamp(5, None).is_ok());
    }

    #[test]
    fn binary_and_raw_lines_are_taken_as_such() {
        assert_eq!(event("aGk=", &["-b"]).unwrap().2, "hi");
        assert_eq!(event("{not json", &["-r"]).unwrap().2, "{not json");
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, options) in [
            ("{", &[] as &[&str]),
            ("1 2", &[]),
            ("%", &["-b"]),
            ("{}", &["-m"]),
            ("{}", &["-k", "k"]),
            (r#"{"k":null}"#, &["-k", "k"]),
            (r#"{"k":1.5}"#, &["-k", "k"]),
        ] {
            assert!(event(line, options).is_err(), "{line}");
        }
    }

    #[test]
    fn a_line_too_long_is_cut_and_the_next_one_is_whole() {
        let mut input: &[u8] = b"abcd\r\n12345678\n\nend";
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut input, 5).unwrap() {
            lines.push(line);
        }
        let line = |text: &str, is_cut| (text.as_bytes().to_vec(), is_cut);
        assert_eq!(lines, [line("abcd", false), line("12345", true), line("", false), line("end", false)]);
    }
}
