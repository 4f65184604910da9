//! `mainstem replay`: publishes a recorded feed as if it happened now.

mod line;
mod pace;
mod progress;

use crate::cli::{
    Globals,
    context::Context,
    failure::{DATA, Failure},
    time,
};
use anyhow::Context as _;
use line::{Fields, Recorded};
use mainstem_client::{
    Client, ErrorKind, PublishConfig, PublishTarget, Publisher, StreamDefinition, StreamName,
};
use mainstem_model::{Ack, ContentType, EncryptionType, NewEvent, Partition, Right, StreamRecord};
use pace::{Pace, Speed};
use progress::{Counts, Progress};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::{
    fs::File,
    io::BufReader,
    time::{Instant, sleep_until, timeout},
};

/// Bytes of the file that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How long an interrupted program waits for the acks of what it has published.
pub(crate) const LAST_ACKS: Duration = Duration::from_secs(5);

/// Options of `mainstem replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// The feed: one JSON object a line
    file: PathBuf,
    /// Stream to publish to, created if it is missing: /path of your own, 0xowner/path, or an id
    #[arg(long)]
    stream: String,
    /// Field with the recorded time: milliseconds since 1970, or ISO 8601 with a zone
    #[arg(long, value_name = "FIELD", default_value = "time")]
    time_field: String,
    /// Field whose value, a text or a whole number, chooses the partition; without it all goes to partition 0
    #[arg(short = 'k', long, value_name = "FIELD")]
    partition_key_field: Option<String>,
    /// Partitions of the stream if it is created [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    partitions: Option<u16>,
    /// What the stream is about, if it is created [default: names the file]
    #[arg(long)]
    description: Option<String>,
    /// Seconds of the feed in one second; max does not wait
    #[arg(long, default_value = "1")]
    speed: Speed,
    /// Begin again at the end, until interrupted
    #[arg(long = "loop")]
    is_looped: bool,
    /// Stop after so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What to wait for: accepted (proven), stored (outlives the program), durable (outlives the power); 'durable(2)' waits for
    /// two of the network's brokers
    #[arg(long, default_value = "stored")]
    ack: Ack,
}

/// Replays until the feed, the limit or an interrupt ends it. The exit code is 65 if some lines were no events.
pub(crate) async fn run(args: ReplayArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let context = Context::load(globals)?;
    let done = replay(args, &context).await;
    context.close().await;
    done
}

async fn replay(args: ReplayArgs, context: &Context) -> anyhow::Result<ExitCode> {
    context.need_key()?;
    // Before anything is created for it.
    let feed = Feed::open(&args.file).await?;
    let client = context.connect(PublishConfig { ack: args.ack, ..PublishConfig::default() }).await?;
    let record = stream(&client, &args).await?;
    let target = match args.partition_key_field {
        Some(_) => PublishTarget::Keyed { stream: record.id, partitions: record.partitions },
        None => record.id.partition(Partition::ZERO).into(),
    };
    let began = Instant::now();
    let name = record.path.clone().unwrap_or_else(|| record.id.to_string());
    let progress = Progress::new(context.out, name, feed.bytes, began);
    if let Some(asked) = args.partitions.filter(|asked| *asked != record.partitions) {
        let text =
            format!("the stream is there already, with {} partitions and not {asked}", record.partitions);
        progress.say("PARTITIONS", None, &text);
    }
    let publisher = client.publisher(target)?;
    let fields = Fields { time: args.time_field.clone(), partition_key: args.partition_key_field.clone() };
    let mut replay = Replay { args: &args, fields, feed, publisher, progress, counts: Counts::default() };

    let interrupted = tokio::select! {
        ended = replay.passes() => { ended?; false }
        () = crate::interrupts::interrupted() => true,
    };
    let flushed = replay.publisher.flush();
    if interrupted {
        // Somebody wants it to end: what a broker that has gone does not ack is not waited for.
        match timeout(LAST_ACKS, flushed).await {
            Ok(flushed) => flushed.context("publishing")?,
            Err(_) => replay.progress.say("UNAVAILABLE", None, "the last events were not acked"),
        }
    } else {
        flushed.await.context("publishing")?;
    }
    replay.progress.end();

    let Counts { events, bad_lines, .. } = replay.counts;
    let seconds = began.elapsed().as_secs_f64();
    context.out.result(
        &json!({"stream": record.id.to_string(), "published": events, "badLines": bad_lines, "seconds": seconds}),
        &format!(
            "published {events} events to {} in {seconds:.1} s ({:.0} events/s)",
            record.id,
            events as f64 / seconds
        ),
    )?;
    if bad_lines > 0 {
        let text = format!("{bad_lines} lines of {} are no events", args.file.display());
        return Err(Failure::new(DATA, "INVALID_DATA", text).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// The stream to publish to. A path of one's own under which there is none becomes a stream that everybody may read.
async fn stream(client: &Client, args: &ReplayArgs) -> anyhow::Result<StreamRecord> {
    let (owner, path) = match args.stream.split_once('/') {
        None => return Ok(client.get_stream(args.stream.parse::<StreamName>()?).await?),
        Some(("", path)) if !path.is_empty() => (None, path),
        Some((_, path)) => {
            let StreamName::Alias(owner, _) = args.stream.parse()? else { unreachable!("it has a /") };
            (Some(owner), path)
        }
    };
    if let Some(owner) = owner.filter(|owner| client.address() != Some(*owner)) {
        return Ok(client.get_stream(StreamName::Alias(owner, path.to_owned())).await?);
    }
    let description = args.description.clone().unwrap_or_else(|| {
        let file = args.file.file_name().unwrap_or_default().to_string_lossy();
        format!("Replay of the recorded feed {file}")
    });
    let mut definition =
        StreamDefinition::new(path).partitions(args.partitions.unwrap_or(1)).grant(None, &[Right::Subscribe]);
    definition.metadata.insert("description".to_owned(), description.into());
    match client.get_or_create_stream(definition).await {
        Err(error) if error.kind == ErrorKind::NotConfigured => Err(Failure::usage(error.message).into()),
        found => found.with_context(|| format!("the stream {}", args.stream)),
    }
}

/// A file that is read from its beginning as often as wanted, never as a whole.
#[derive(Debug)]
struct Feed {
    path: PathBuf,
    bytes: u64,
    reader: BufReader<File>,
}

impl Feed {
    async fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error| Failure::io(format!("{} cannot be read: {error}", path.display()));
        let file = File::open(path).await.map_err(unreadable)?;
        let bytes = file.metadata().await.map_err(unreadable)?.len();
        Ok(Self { path: path.to_owned(), bytes, reader: BufReader::with_capacity(READ_BYTES, file) })
    }
}

struct Replay<'a> {
    args: &'a ReplayArgs,
    fields: Fields,
    feed: Feed,
    publisher: Publisher,
    progress: Progress,
    counts: Counts,
}

impl Replay<'_> {
    /// One pass over the feed, or as many as there is time for.
    async fn passes(&mut self) -> anyhow::Result<()> {
        loop {
            let before = self.counts;
            // Bad lines are the same in each pass: named and counted once.
            let is_first = before == Counts::default();
            self.pass(is_first).await?;
            if !self.args.is_looped || self.is_at_limit() {
                return Ok(());
            }
            if self.counts.events == before.events {
                let text = format!("{} has no events to replay", self.feed.path.display());
                return Err(Failure::data(text).into());
            }
            self.feed = Feed::open(&self.feed.path).await?;
            self.counts.clock_ms = None;
        }
    }

    fn is_at_limit(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.counts.events >= limit)
    }

    async fn pass(&mut self, is_first: bool) -> anyhow::Result<()> {
        let mut pace = Pace::new(self.args.speed);
        let (mut line, mut position) = (Vec::new(), 0);
        for number in 1.. {
            if self.is_at_limit() {
                break;
            }
            let taken = line::read_line(&mut self.feed.reader, &mut line)
                .await
                .with_context(|| format!("reading {}", self.feed.path.display()))?;
            if taken == 0 {
                break;
            }
            position += taken;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.fields.read(&line) {
                Ok(recorded) => self.publish(recorded, &mut pace, position).await?,
                Err(why) if is_first => {
                    self.counts.bad_lines += 1;
                    self.progress.bad_line(number, &why, self.counts.bad_lines);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn publish(&mut self, recorded: Recorded, pace: &mut Pace, position: u64) -> anyhow::Result<()> {
        let mut now = Instant::now();
        let due = pace.due(recorded.time_ms, now);
        loop {
            self.progress.show(self.counts, position, now);
            if now >= due {
                break;
            }
            sleep_until(due.min(self.progress.next())).await;
            now = Instant::now();
        }
        let event = NewEvent {
            // Brokers take what happens now; when it was recorded says the content.
            timestamp: time::now_ms(),
            content_type: ContentType::JSON,
            encryption_type: EncryptionType::NONE,
            content: recorded.content,
        };
        let handed = match &recorded.key {
            Some(key) => self.publisher.publish_keyed(event, key).await,
            None => self.publisher.publish(event).await,
        };
        drop(handed.context("publishing")?);
        self.counts.events += 1;
        self.counts.clock_ms = self.counts.clock_ms.max(Some(recorded.time_ms));
        Ok(())
    }
}
