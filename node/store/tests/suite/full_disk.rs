//! No more room.

use crate::{
    batches::{Publisher, place},
    restart::BEGIN,
};
use mainstem_model::ReadFilter;
use mainstem_store::{Config, DiskLog, EventLog, StoreError};
use std::{path::Path, process::Command};

/// A small file system in memory.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, size: &str) -> Option<Self> {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(path).output().ok()?;
        mount.status.success().then_some(Self(path))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).status());
    }
}

#[test]
fn a_full_disk_stops_acknowledgements_and_with_room_again_all_that_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(folder.path(), "size=48m") else {
        println!("SKIPPED: a file system can be mounted by root only");
        return;
    };
    let path = mount.0.join("store");
    let mut publisher = Publisher::new(1, 1, place(0));
    let mut acked = 0;
    {
        let log = DiskLog::open(&path, &Config::default(), 7).unwrap();
        let error = loop {
            let batch = publisher.batch_of(&[acked; 4], 100_000);
            match log.append(&[batch]) {
                Ok(_) => acked += 1,
                Err(error) => break error,
            }
            assert!(acked < 1000, "the disk never filled");
        };
        assert!(matches!(error, StoreError::Poisoned(_)), "{error}");
        assert!(matches!(log.append(&[publisher.batch(&[acked])]), Err(StoreError::Poisoned(_))));
        assert!(matches!(log.sync(), Err(StoreError::Poisoned(_))));
    }
    let more = Command::new("mount").args(["-o", "remount,size=300m"]).arg(mount.0).status().unwrap();
    assert!(more.success());
    let log = DiskLog::open(&path, &Config::default(), 7).unwrap();
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, 1000, usize::MAX).unwrap();
    assert!(
        page.damaged.is_empty() && page.batches.len() as i64 >= acked,
        "{} of {acked}",
        page.batches.len()
    );
    drop(log);
}
