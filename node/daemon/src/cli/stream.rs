mod publish;
mod read;
mod rights;

use super::{
    Globals,
    context::{Context, StreamName},
    failure::{DATA, Failure},
    http,
};
use clap::{Args, Subcommand};
use mainstem_chain::NewStream;
use mainstem_model::{Address, Grant, Right, StreamId, StreamRecord};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Streams. `<STREAM>` is 0x and 40 hex digits, 0xowner/path, or /path for one of your own; `#2` behind it names a partition.
#[derive(Debug, Subcommand)]
pub(crate) enum StreamCommand {
    /// Create a stream; prints its id
    #[command(
        after_help = "Example:\n  mainstem stream create /rooms -p 3 -d 'room temperatures' --public subscribe"
    )]
    Create(CreateArgs),
    /// Show a stream as the chain has it
    #[command(after_help = "Example:\n  mainstem stream show /rooms")]
    Show {
        /// Which stream
        stream: StreamName,
    },
    /// Find streams that the node knows of
    #[command(
        after_help = "Examples:\n  mainstem stream search rooms\n  mainstem stream search --user --any publish,subscribe"
    )]
    Search(SearchArgs),
    /// Publish what comes on stdin, one JSON value a line
    #[command(after_help = "Examples:\n  echo '{\"t\": 21.5}' | mainstem stream publish /rooms\n  \
                      mainstem stream publish /rooms -k room --ack durable --file readings.jsonl\n\n\
                      A bad line is reported with its number, the others are published, and the exit code is 65.")]
    Publish(publish::PublishArgs),
    /// Print events as they come, one JSON value a line, until ctrl-c
    #[command(
        after_help = "Examples:\n  mainstem stream subscribe /rooms\n  mainstem stream subscribe /rooms -m --last 10 --count 20"
    )]
    Subscribe(read::SubscribeArgs),
    /// Print past events
    Resend {
        #[command(subcommand)]
        what: read::ResendCommand,
    },
    /// Give rights to somebody, or to everyone
    #[command(
        visible_alias = "grant",
        after_help = "Examples:\n  mainstem stream grant-permission /rooms public subscribe\n  \
                      mainstem stream grant /rooms 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 publish subscribe --until 2027-01-01T00:00:00Z"
    )]
    GrantPermission(rights::GrantArgs),
    /// Take rights from somebody, or from everyone
    #[command(
        visible_alias = "revoke",
        after_help = "Example:\n  mainstem stream revoke-permission /rooms public subscribe"
    )]
    RevokePermission(rights::RevokeArgs),
    /// List who may do what
    #[command(after_help = "Example:\n  mainstem stream list-permissions /rooms")]
    ListPermissions {
        /// Which stream
        stream: StreamName,
    },
    /// Remove a stream for good
    #[command(after_help = "Example:\n  mainstem stream delete /rooms")]
    Delete {
        /// Which stream
        stream: StreamName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// List it under this path of your address: /rooms becomes 0xyou/rooms
    path: Option<String>,
    /// What it is about
    #[arg(short, long)]
    description: Option<String>,
    /// How many partitions
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=100))]
    partitions: Option<u16>,
    /// Days that history is kept
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    storage_days: Option<u32>,
    /// More metadata, a JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// What everyone may do: subscribe, publish, or both with a comma between
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', value_parser = rights::parse_public)]
    public: Vec<Right>,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Text in id, path or metadata
    term: Option<String>,
    /// Streams that this account has a right to; your own without a value
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1)]
    user: Option<Option<Address>>,
    /// Streams that everyone has a right to; with --user, what everyone may do counts too
    #[arg(long)]
    public: bool,
    /// Only where every one of these rights is held [default: subscribe]
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',')]
    all: Vec<Right>,
    /// Only where one of these rights is held
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', conflicts_with = "all")]
    any: Vec<Right>,
}

pub(crate) async fn run(command: StreamCommand, globals: &Globals) -> anyhow::Result<ExitCode> {
    let context = Context::load(globals)?;
    let done = perform(command, &context).await;
    context.close().await;
    done
}

async fn perform(command: StreamCommand, context: &Context) -> anyhow::Result<ExitCode> {
    match command {
        StreamCommand::Create(args) => create(args, context).await?,
        StreamCommand::Show { stream } => show(&stream, context).await?,
        StreamCommand::Search(args) => search(args, context).await?,
        StreamCommand::Publish(args) => return publish::run(args, context).await,
        StreamCommand::Subscribe(args) => read::subscribe(args, context).await?,
        StreamCommand::Resend { what } => read::resend(what, context).await?,
        StreamCommand::GrantPermission(args) => rights::grant(args, context).await?,
        StreamCommand::RevokePermission(args) => rights::revoke(args, context).await?,
        StreamCommand::ListPermissions { stream } => rights::list(&stream, context).await?,
        StreamCommand::Delete { stream } => delete(&stream, context).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs, context: &Context) -> anyhow::Result<()> {
    let wallet = context.wallet()?;
    let path = args.path.as_deref().map(|path| own_path(path, wallet.address())).transpose()?;
    let mut everyone = Grant::NONE;
    for right in &args.public {
        rights::set(&mut everyone, *right, Some(Grant::FOREVER));
    }
    let grants = if everyone == Grant::NONE { Vec::new() } else { vec![(Address::ZERO, everyone)] };
    let new = NewStream { metadata: metadata(&args)?, path, grants, ..NewStream::default() };
    let (id, _receipt) = context.registry()?.create_stream(&wallet, &new).await?;
    context.settle(&format!("/streams/{id}"), Result::is_ok).await;
    let alias = new.path.map(|path| format!("{}/{path}", wallet.address()));
    let text = alias.as_ref().map_or_else(|| id.to_string(), |alias| format!("{id}  {alias}"));
    Ok(context.out.result(&json!({"id": id.to_string(), "alias": alias}), &text)?)
}

/// The path of a stream of one's own, from `path`, `/path` or `0xyou/path`.
fn own_path(text: &str, own: Address) -> Result<String, Failure> {
    let path = match text.split_once('/') {
        Some(("", path)) => path,
        Some((owner, path)) if owner.starts_with("0x") => {
            if owner.parse() != Ok(own) {
                return Err(Failure::permission(format!(
                    "you are {own} and cannot list a stream under {owner}"
                )));
            }
            path
        }
        _ => text,
    };
    Ok(path.to_owned())
}

fn metadata(args: &CreateArgs) -> Result<String, Failure> {
    let mut fields: Map<String, Value> = match &args.metadata {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::data(format!("--metadata is not a JSON object: {error}")))?,
        None => Map::new(),
    };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    put("description", args.description.clone().map(Value::from));
    put("partitions", args.partitions.map(Value::from));
    put("storageDays", args.storage_days.map(Value::from));
    Ok(Value::Object(fields).to_string())
}

/// The record of a stream, straight from the chain.
async fn record(context: &Context, id: StreamId) -> anyhow::Result<StreamRecord> {
    context.registry()?.stream(id).await?.ok_or_else(|| not_found(id).into())
}

fn not_found(id: StreamId) -> Failure {
    Failure::new(DATA, "STREAM_NOT_FOUND", format!("the registry has no stream {id}"))
}

async fn show(name: &StreamName, context: &Context) -> anyhow::Result<()> {
    let record = record(context, context.resolve(name).await?).await?;
    let metadata: Value =
        serde_json::from_str(&record.metadata).unwrap_or_else(|_| Value::String(record.metadata.clone()));
    let object = json!({
        "id": record.id.to_string(),
        "alias": record.path.as_ref().map(|path| format!("{}/{path}", record.owner)),
        "owner": record.owner.to_string(),
        "partitions": record.partitions,
        "storageDays": record.storage_days,
        "metadata": metadata,
        "keyEpoch": record.key_epoch,
        "createdAt": super::time::iso_of_seconds(record.created_at),
    });
    Ok(context.out.result(&object, &format!("{object:#}"))?)
}

async fn search(args: SearchArgs, context: &Context) -> anyhow::Result<()> {
    let user = match args.user {
        Some(Some(user)) => Some(user),
        Some(None) => Some(context.address()?),
        None => None,
    };
    let asks_rights = !args.all.is_empty() || !args.any.is_empty();
    if asks_rights && user.is_none() && !args.public {
        return Err(Failure::usage(
            "--all and --any say what somebody may do; say who with --user or --public",
        )
        .into());
    }
    let (rights, every) = if args.any.is_empty() { (args.all, true) } else { (args.any, false) };
    let rights = if rights.is_empty() { vec![Right::Subscribe] } else { rights };
    let mut found: Option<Vec<Value>> = None;
    for right in rights {
        let streams = search_one(context, args.term.as_deref(), user, args.public, right).await?;
        found = Some(match found {
            None => streams,
            Some(before) if every => before.into_iter().filter(|stream| has(&streams, stream)).collect(),
            Some(mut before) => {
                before.extend(streams.into_iter().filter(|stream| !has(&before, stream)).collect::<Vec<_>>());
                before
            }
        });
        // Without anybody to ask about, rights make no difference.
        if user.is_none() && !args.public {
            break;
        }
    }
    for stream in found.unwrap_or_default() {
        let text = |name: &str| stream.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let line = [text("id"), text("alias"), text("description")].join("  ");
        context.out.result(&stream, line.trim_end())?;
    }
    Ok(())
}

fn has(streams: &[Value], stream: &Value) -> bool {
    streams.iter().any(|other| other.get("id") == stream.get("id"))
}

async fn search_one(
    context: &Context,
    term: Option<&str>,
    user: Option<Address>,
    public: bool,
    right: Right,
) -> Result<Vec<Value>, Failure> {
    let user = user.map(|user| user.to_string());
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut pairs = Vec::new();
        pairs.extend(term.map(|term| ("term", term)));
        pairs.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        match &user {
            Some(user) => pairs.extend([
                ("user", user.as_str()),
                ("right", right.as_str()),
                ("public", if public { "true" } else { "false" }),
            ]),
            None if public => pairs.extend([("right", right.as_str()), ("public", "true")]),
            None => {}
        }
        let mut page = http::get_json(context.http()?, &format!("/streams{}", http::query(&pairs))).await?;
        if let Some(Value::Array(streams)) = page.get_mut("streams").map(Value::take) {
            found.extend(streams);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
            _ => return Ok(found),
        }
    }
}

async fn delete(name: &StreamName, context: &Context) -> anyhow::Result<()> {
    let wallet = context.wallet()?;
    let id = context.resolve(name).await?;
    context.registry()?.remove(&wallet, id).await?;
    context.settle(&format!("/streams/{id}"), |answer| answer.is_err()).await;
    Ok(context.out.result(&json!({"deleted": id.to_string()}), &format!("{id} is gone"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_in_three_forms_and_only_under_ones_own_address() {
        let own = Address([0xab; 20]);
        for text in ["a/b".to_owned(), "/a/b".to_owned(), format!("{own}/a/b")] {
            assert_eq!(own_path(&text, own).unwrap(), "a/b", "{text}");
        }
        assert!(own_path(&format!("{}/a", Address([1; 20])), own).is_err());
    }

    #[test]
    fn options_win_over_metadata() {
        let args = CreateArgs {
            path: None,
            description: Some("d".to_owned()),
            partitions: Some(3),
            storage_days: None,
            metadata: Some(r#"{"partitions":1,"unit":"C"}"#.to_owned()),
            public: Vec::new(),
        };
        let text = metadata(&args).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, json!({"description": "d", "partitions": 3, "unit": "C"}));
        assert!(metadata(&CreateArgs { metadata: Some("[]".to_owned()), ..args }).is_err());
    }
}
