//! Storage plugins: what is asked of a log stands in the other files; here is what is asked of the port for records.

use crate::check;
use mainstem_model::{Query, Record, RecordStore};
use mainstem_plugin_host::{Capability, Compiler, Config, Grants, Host, HttpHost, StoragePlugin};
use mainstem_store::MemoryRecords;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// The plugin whose built-in twin is [`MemoryRecords`].
pub(crate) fn memory() -> StoragePlugin {
    start("memory", None, &[])
}

/// The plugin with its files in a folder, in segments so small that a few batches fill one.
pub(crate) fn segments(folder: &Path) -> StoragePlugin {
    start("segments", Some(folder.to_owned()), &[("segment_bytes", "20000")])
}

/// The plugin with its objects behind a prefix of the bucket `mainstem`, where `tools/s3.sh` has started a server.
pub(crate) fn s3(prefix: &str) -> StoragePlugin {
    let (endpoint, keys) = s3_server().unwrap();
    let (access_key, secret_key) = keys.split_once(':').unwrap();
    let parameters = [
        ("endpoint", endpoint.as_str()),
        ("bucket", "mainstem"),
        ("prefix", prefix),
        ("access_key", access_key),
        ("secret_key", secret_key),
    ];
    start("s3", None, &parameters)
}

/// Where a server that speaks S3 is, and `<access key>:<secret key>`, if there is one.
pub(crate) fn s3_server() -> Option<(String, String)> {
    Some((std::env::var("MAINSTEM_S3").ok()?, std::env::var("MAINSTEM_S3_KEYS").ok()?))
}

/// A prefix that no other log has.
pub(crate) fn s3_prefix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("suite/{now}-{}-{}/", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn start(name: &str, files: Option<PathBuf>, parameters: &[(&str, &str)]) -> StoragePlugin {
    let endpoint = s3_server().map(|(endpoint, _)| endpoint).unwrap_or_default();
    try_start(name, files, &endpoint, parameters).unwrap()
}

/// A plugin that may reach the server of this endpoint, if it is one.
pub(crate) fn try_start(
    name: &str,
    files: Option<PathBuf>,
    endpoint: &str,
    parameters: &[(&str, &str)],
) -> Result<StoragePlugin, String> {
    static HOST: OnceLock<(Host, TempDir)> = OnceLock::new();
    let (host, _) = HOST.get_or_init(|| {
        // Each module is compiled once.
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("compiled");
        (Host::new(Config::default(), Some(path), Compiler::InProcess).unwrap(), cache)
    });
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("plugins").join(format!("{name}.wasm"));
    let module = fs::read(&path);
    let module = module.unwrap_or_else(|_| panic!("{} is missing: run tools/plugins.sh", path.display()));
    let mut grants = Grants { files, ..Grants::default() };
    grants.capabilities.extend([Capability::Blob, Capability::Http, Capability::Clock, Capability::Log]);
    grants.http_hosts.extend(endpoint.parse::<HttpHost>().ok());
    let parameters: BTreeMap<_, _> =
        parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let plugin = host.load(&module, grants).map_err(|error| error.to_string())?;
    plugin.storage(&parameters).map_err(|error| error.to_string())
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u16>),
    Trim(Vec<u8>),
    Query(Query),
    Fetch(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || proptest::collection::vec(any::<u8>(), 0..20);
    let query = (0_u64..150, 0_u64..150, 1_usize..30, 0_usize..9_000, 0_usize..300).prop_map(
        |(from, until, records_max, bytes_max, prefix_bytes)| Query {
            from,
            until,
            records_max,
            bytes_max,
            prefix_bytes,
        },
    );
    let step = prop_oneof![
        3 => proptest::collection::vec(0_u16..3_000, 0..12).prop_map(Step::Append),
        1 => some().prop_map(Step::Trim),
        4 => query.prop_map(Step::Query),
        2 => some().prop_map(Step::Fetch),
    ];
    proptest::collection::vec(step, 1..60)
}

#[test]
fn plugins_answer_every_call_as_their_built_in_twin_does() {
    check(60, steps(), |steps| {
        let folder = tempfile::tempdir().unwrap();
        let (built_in, mut plugins) = (MemoryRecords::default(), vec![memory(), segments(folder.path())]);
        plugins.extend(s3_server().map(|_| s3(&s3_prefix())));
        let mut next = 1;
        for step in steps {
            match step {
                Step::Append(lengths) => {
                    let value =
                        |length: u16| (0..length).map(|n| (n / 40) as u8 ^ length as u8).collect::<Vec<_>>();
                    let records: Vec<_> = (next..)
                        .zip(lengths)
                        .map(|(place, length)| Record {
                            place,
                            timestamp: i64::from(length) - 1_000,
                            value: value(length).into(),
                        })
                        .collect();
                    next += records.len() as u64;
                    built_in.append(&records).unwrap();
                    plugins.iter().for_each(|plugin| RecordStore::append(plugin, &records).unwrap());
                }
                Step::Trim(places) => {
                    let places: Vec<_> = places.into_iter().map(u64::from).collect();
                    built_in.trim(&places).unwrap();
                    plugins.iter().for_each(|plugin| RecordStore::trim(plugin, &places).unwrap());
                }
                Step::Query(query) => {
                    let told = built_in.query(&query).unwrap();
                    for plugin in &plugins {
                        prop_assert_eq!(&RecordStore::query(plugin, &query).unwrap(), &told, "{:?}", plugin);
                    }
                }
                Step::Fetch(mut places) => {
                    places.dedup();
                    let places: Vec<_> = places.into_iter().map(u64::from).collect();
                    let told = built_in.fetch(&places).unwrap();
                    for plugin in &plugins {
                        prop_assert_eq!(&RecordStore::fetch(plugin, &places).unwrap(), &told, "{:?}", plugin);
                    }
                }
            }
        }
        Ok(())
    });
}
