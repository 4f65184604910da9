//! What the targets `plugin_reply`, `plugin_request` and `plugin_manifest` of `fuzz/` try: bytes of guests, by the ways on which a
//! node reads them, and what must hold of everything that is read.
#![allow(clippy::missing_panics_doc, reason = "a property that does not hold is to panic")]

mod replies;

pub use replies::reply;

use crate::{
    Config,
    capability::{Answer, Meter, Privileges, Surroundings, answer, http::Web},
    inspect,
    section::{check_beside_memory, check_version},
};
use mainstem_plugin_abi::{Capability, Manifest, ManifestError};
use std::{
    collections::BTreeSet,
    fs,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Bytes of all files of a plugin here, and how many there may be.
const BLOB_BYTES_MAX: u64 = 2_048;
const BLOB_FILES_MAX: usize = 4;

/// Where a plugin's files are as long as it asks.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for files"));

/// A host request: the first byte says which capabilities are granted. No server is, and there is no chain.
pub fn request(data: &[u8]) {
    let Some((granted, segment)) = data.split_first() else { return };
    let granted = Capability::ALL.into_iter().enumerate().filter(|(bit, _)| granted >> bit & 1 == 1);
    let granted: BTreeSet<_> = granted.map(|(_, capability)| capability).collect();
    let config = Config {
        log_lines_per_minute_max: 0,
        blob_bytes_max: BLOB_BYTES_MAX,
        blob_files_max: BLOB_FILES_MAX,
        ..Config::default()
    };
    let surroundings = Surroundings::of(Web::new(1));
    let files = FOLDER.path().join("files");
    let privileges = Privileges::new(
        "fuzzed".into(),
        granted.clone(),
        BTreeSet::new(),
        Some(files.clone()),
        surroundings,
        &config,
    );
    let mut meter = Meter::new(10_000_000, Instant::now() + Duration::from_secs(1));
    let answer = answer(&privileges, segment, &mut meter);
    if files.exists() {
        let names: Vec<_> = fs::read_dir(FOLDER.path()).expect("it is there").collect();
        assert_eq!(names.len(), 1, "a file beside the plugin's folder");
        fs::remove_dir_all(&files).expect("it is there");
    }
    let Ok(answer) = answer else { return };
    let needs = match &answer {
        Answer::Digests(_) | Answer::Checks(_) => Some(Capability::Crypto),
        Answer::Now(_) => Some(Capability::Clock),
        Answer::Random(_) => Some(Capability::Random),
        Answer::Bytes(_) | Answer::Size(_) | Answer::Names(_) => Some(Capability::Blob),
        Answer::Http(_) | Answer::Contract(_) => panic!("there is no server and no chain: {answer:?}"),
        Answer::Done | Answer::Failed(..) => None,
    };
    assert!(needs.is_none_or(|needs| granted.contains(&needs)), "{answer:?} without a grant");
    if let Answer::Size(size) = answer {
        assert!(size <= BLOB_BYTES_MAX);
    }
    assert!(answer.encode().len() <= 8 * (segment.len() + 4_096) * 4);
}

/// A manifest, and a whole module: what is read of either is told again as the same one.
pub fn manifest(data: &[u8]) {
    again(Manifest::decode(data));
    if let Ok((_, manifest)) = inspect(data) {
        again(Ok(manifest));
        // Of a module that was compiled it cannot fail otherwise; this one was not.
        drop(check_beside_memory(data, 10_000));
    }
}

fn again(manifest: Result<Manifest, ManifestError>) {
    match manifest {
        Ok(manifest) => {
            drop(check_version(&manifest).map_err(|refused| refused.to_string()));
            // One that was packed more tightly than this program does it may be over the bound when it is written.
            match manifest.encode() {
                Ok(bytes) => assert_eq!(Manifest::decode(&bytes), Ok(manifest)),
                Err(error) => assert!(matches!(error, ManifestError::TooLarge(_)), "{error}"),
            }
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{fs, path::Path};

    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut count = 0;
        for file in fs::read_dir(&folder).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 5, "{} has {count} files", folder.display());
    }

    #[test]
    fn what_the_fuzzer_found_of_replies_is_read_or_refused() {
        replay("plugin_reply", super::reply);
    }

    #[test]
    fn what_the_fuzzer_found_of_host_requests_is_answered() {
        replay("plugin_request", super::request);
    }

    #[test]
    fn what_the_fuzzer_found_of_manifests_is_read_or_refused() {
        replay("plugin_manifest", super::manifest);
    }
}
