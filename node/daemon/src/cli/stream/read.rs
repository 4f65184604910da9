use crate::cli::{
    context::{Context, StreamName, parse_partition},
    failure::{Failure, UNAVAILABLE},
    key, progress, time,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use mainstem_client::{
    Closed, Completion, Delivery, EventBatch, PublishConfig, ResendOptions, ResendRange, Start,
    SubscribeOptions,
};
use mainstem_model::{Address, ContentType, Cursor, EventRef, Partition};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// Which stream; #2 behind it is --partition 2
    stream: StreamName,
    /// Begin with events of this time: ISO 8601 with a zone, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = time::parse_ms, conflicts_with_all = ["last", "cursor"])]
    from: Option<i64>,
    /// Begin with the last n events
    #[arg(long, value_name = "N", conflicts_with = "cursor")]
    last: Option<u64>,
    /// Go on after this cursor, as -m prints them
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<Cursor>,
    #[command(flatten)]
    reading: ReadingArgs,
}

/// What of the past to print.
#[derive(Debug, Subcommand)]
pub(crate) enum ResendCommand {
    /// The last n events
    #[command(after_help = "Example:\n  mainstem stream resend last 10 /rooms")]
    Last {
        /// How many
        #[arg(value_name = "N")]
        last: u64,
        /// Which stream
        stream: StreamName,
        /// Go on with live events
        #[arg(short, long)]
        subscribe: bool,
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Events of a time and later
    #[command(after_help = "Example:\n  mainstem stream resend from 2026-01-31T12:00:00Z /rooms --subscribe")]
    From {
        /// ISO 8601 with a zone, or milliseconds since 1970
        #[arg(value_parser = time::parse_ms)]
        from: i64,
        /// Which stream
        stream: StreamName,
        /// Go on with live events
        #[arg(short, long)]
        subscribe: bool,
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Events between two times, both included
    #[command(
        after_help = "Example:\n  mainstem stream resend range 2026-01-31T12:00:00Z 2026-01-31T13:00:00Z /rooms"
    )]
    Range {
        /// ISO 8601 with a zone, or milliseconds since 1970
        #[arg(value_parser = time::parse_ms)]
        from: i64,
        /// The same
        #[arg(value_parser = time::parse_ms)]
        to: i64,
        /// Which stream
        stream: StreamName,
        #[command(flatten)]
        reading: ReadingArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// From which partition [default: 0]
    #[arg(short, long, value_parser = parse_partition)]
    partition: Option<Partition>,
    /// Only events of this publisher
    #[arg(long, value_name = "ADDRESS")]
    publisher_id: Option<Address>,
    /// Open events with the content key in this file; may be given more than once
    #[arg(long, value_name = "FILE")]
    content_key: Vec<PathBuf>,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Args)]
struct Format {
    /// Print {"content": ..., "metadata": ...}
    #[arg(short = 'm', long)]
    with_metadata: bool,
    /// Print contents byte by byte, whatever they are
    #[arg(short, long, conflicts_with_all = ["with_metadata", "binary"])]
    raw: bool,
    /// Print contents as base64
    #[arg(short, long)]
    binary: bool,
}

pub(super) async fn subscribe(args: SubscribeArgs, context: &Context) -> anyhow::Result<()> {
    let start = match (args.from, args.last, args.cursor) {
        (Some(from), _, _) => Start::From(from),
        (_, Some(last), _) => Start::Last(last),
        (_, _, Some(cursor)) => Start::Cursor(cursor),
        (None, None, None) => Start::Now,
    };
    read(&args.stream, Begin::At(start), &args.reading, context).await
}

pub(super) async fn resend(what: ResendCommand, context: &Context) -> anyhow::Result<()> {
    match what {
        ResendCommand::Last { last, stream, subscribe, reading } => {
            let begin =
                if subscribe { Begin::At(Start::Last(last)) } else { Begin::Resend(ResendRange::Last(last)) };
            read(&stream, begin, &reading, context).await
        }
        ResendCommand::From { from, stream, subscribe, reading } => {
            let begin =
                if subscribe { Begin::At(Start::From(from)) } else { Begin::Resend(ResendRange::From(from)) };
            read(&stream, begin, &reading, context).await
        }
        ResendCommand::Range { from, to, stream, reading } => {
            if to < from {
                return Err(Failure::usage("the range ends before it begins").into());
            }
            read(&stream, Begin::Resend(ResendRange::Range { from, to }), &reading, context).await
        }
    }
}

/// What to read: from somewhere on and then live, or a part of the past.
enum Begin {
    At(Start),
    Resend(ResendRange),
}

/// Prints until the past is told, `--count` is reached or somebody presses ctrl-c.
async fn read(name: &StreamName, begin: Begin, args: &ReadingArgs, context: &Context) -> anyhow::Result<()> {
    let at = context.resolve(name).await?.partition(name.partition(args.partition)?);
    let keys = key::read(&args.content_key, at.stream)?;
    let client = context.connect_with(PublishConfig::default(), keys).await?;
    let bar = if matches!(begin, Begin::At(_)) {
        ProgressBar::hidden()
    } else {
        progress::events(context.out, length(&begin, args.count))
    };
    let mut subscription = match begin {
        Begin::At(start) => {
            let mut options = SubscribeOptions::new(at).start(start);
            options.origin = args.publisher_id;
            client.subscribe(options).await?
        }
        Begin::Resend(range) => {
            let mut options = ResendOptions::new(at, range);
            options.origin = args.publisher_id;
            client.resend(options).await?
        }
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while left > 0 {
        let received = tokio::select! {
            received = subscription.next_delivery() => received,
            _ = &mut interrupted => None,
        };
        match received {
            None => break,
            Some(Ok(Delivery::Batch(batch))) => {
                let (lines, count) = lines(&batch, args.format, left);
                context.out.bytes(&lines)?;
                left -= count;
                bar.inc(count);
            }
            Some(Ok(Delivery::CaughtUp { .. })) => {}
            Some(Ok(Delivery::Completed(completion))) => {
                bar.finish_and_clear();
                return whole(completion);
            }
            Some(Ok(Delivery::Gap(gap))) => {
                let text =
                    format!("events {} to {} of series {} are missing", gap.from, gap.to - 1, gap.series);
                let gap = json!({"series": gap.series.to_string(), "publisherId": gap.origin.to_string(),
                    "from": gap.from, "to": gap.to});
                bar.suspend(|| context.out.notice(&json!({"gap": gap}), &text));
            }
            Some(Ok(Delivery::Fork(fork))) => {
                let text =
                    format!("{} signed two batches for one place of series {}", fork.origin, fork.series);
                let fork = json!({"series": fork.series.to_string(), "publisherId": fork.origin.to_string(),
                    "sequence": fork.sequence, "first": fork.first.to_string(), "second": fork.second.to_string()});
                bar.suspend(|| context.out.notice(&json!({"fork": fork}), &text));
            }
            Some(Ok(Delivery::Damaged(damage))) => {
                let text = format!("{} batches are damaged at the broker and were left out", damage.batches);
                bar.suspend(|| context.out.notice(&json!({"damaged": damage.batches}), &text));
            }
            Some(Ok(Delivery::Rejected { error, .. })) => {
                let text = format!("the broker sent something that does not hold: {error}");
                bar.suspend(|| context.out.notice(&json!({"rejected": error.to_string()}), &text));
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A part of the past that has holes is no success: a script would take it for all there was.
fn whole(completion: Completion) -> anyhow::Result<()> {
    if completion.complete {
        return Ok(());
    }
    let text = format!(
        "the broker's history is damaged or has holes there: {} events came, others are missing",
        completion.events
    );
    Err(Failure::new(UNAVAILABLE, "DAMAGED_HISTORY", text).into())
}

/// How many events will come, if that is known.
const fn length(begin: &Begin, count: Option<u64>) -> Option<u64> {
    match (begin, count) {
        (Begin::Resend(ResendRange::Last(last)), Some(count)) if count < *last => Some(count),
        (Begin::Resend(ResendRange::Last(last)), _) => Some(*last),
        _ => count,
    }
}

/// At most `max` events as lines, and how many they are.
fn lines(batch: &EventBatch, format: Format, max: u64) -> (Vec<u8>, u64) {
    let (mut lines, mut count) = (Vec::new(), 0);
    for (index, event) in batch.events() {
        if count == max {
            break;
        }
        count += 1;
        if let (Some(closed), false) = (batch.closed(index), format.raw) {
            let mut object = sealed(closed, event.content);
            if format.with_metadata {
                object["metadata"] = metadata(batch, index, &event);
            }
            lines.extend_from_slice(object.to_string().as_bytes());
        } else if format.raw {
            lines.extend_from_slice(event.content);
        } else if format.with_metadata {
            let object =
                json!({"content": value(&event, format), "metadata": metadata(batch, index, &event)});
            lines.extend_from_slice(object.to_string().as_bytes());
        } else if format.binary {
            lines.extend_from_slice(STANDARD.encode(event.content).as_bytes());
        } else if event.content_type == ContentType::JSON && is_one_line(event.content) {
            // As its publisher wrote it.
            lines.extend_from_slice(event.content);
        } else {
            lines.extend_from_slice(value(&event, format).to_string().as_bytes());
        }
        lines.push(b'\n');
    }
    (lines, count)
}

/// Whether a content is JSON that fits on a line. Publishers may send anything and call it JSON.
fn is_one_line(content: &[u8]) -> bool {
    !content.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(content).is_ok()
}

/// A content as JSON: JSON as it is, text as a string, anything else as {"base64": ...}.
fn value(event: &EventRef<'_>, format: Format) -> Value {
    let base64 = || STANDARD.encode(event.content);
    if format.binary {
        return Value::String(base64());
    }
    let json = || serde_json::from_slice(event.content).ok();
    let text = || std::str::from_utf8(event.content).ok().map(Value::from);
    let known = match event.content_type {
        ContentType::JSON => json(),
        ContentType::TEXT => text(),
        _ => None,
    };
    known.unwrap_or_else(|| json!({"base64": base64()}))
}

/// An event that is sealed still: how, with which key if that is known, why, and its bytes.
fn sealed(closed: &Closed, content: &[u8]) -> Value {
    json!({"sealed": {
        "encryptionType": closed.encryption_type().0,
        "key": closed.key().map(|key| key.to_string()),
        "reason": closed.to_string(),
        "base64": STANDARD.encode(content),
    }})
}

fn metadata(batch: &EventBatch, index: usize, event: &EventRef<'_>) -> Value {
    let header = batch.header();
    json!({
        "id": format!("{}#{index}", header.id()),
        "timestamp": event.timestamp,
        "receivedAt": batch.received_at(),
        "streamId": header.stream_partition.stream.to_string(),
        "streamPartition": header.stream_partition.partition.number(),
        "publisherId": header.origin.to_string(),
        "series": header.series.to_string(),
        "sequence": header.sequence + index as u64,
        "contentType": event.content_type.0,
        "encryptionType": event.encryption_type.0,
        "cursor": batch.cursor_after(index).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::EncryptionType;

    #[test]
    fn a_past_with_holes_is_a_failure_of_its_own() {
        assert!(whole(Completion { events: 3, complete: true }).is_ok());
        let failure = Failure::of(&whole(Completion { events: 3, complete: false }).unwrap_err()).unwrap();
        assert_eq!((failure.exit, failure.code.as_str()), (UNAVAILABLE, "DAMAGED_HISTORY"));
    }

    #[test]
    fn every_content_has_a_json_form() {
        let format = Format { with_metadata: false, raw: false, binary: false };
        let check = |content_type, content: &[u8], expected: Value| {
            let event =
                EventRef { timestamp: 0, content_type, encryption_type: EncryptionType::NONE, content };
            assert_eq!(value(&event, format), expected);
        };
        check(ContentType::JSON, b"{\"a\":\n1}", json!({"a": 1}));
        check(ContentType::JSON, b"{", json!({"base64": "ew=="}));
        check(ContentType::TEXT, b"hi", json!("hi"));
        check(ContentType::BINARY, b"hi", json!({"base64": "aGk="}));
        check(ContentType(77), b"", json!({"base64": ""}));
    }

    #[test]
    fn contents_that_would_break_the_lines_are_seen() {
        assert!(is_one_line(b" {\"a\": 1}"));
        assert!(!is_one_line(b"{\"a\":\n1}"));
        assert!(!is_one_line(b"{}{}"));
        assert!(!is_one_line(b""));
    }
}
