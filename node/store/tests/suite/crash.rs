//! kill -9.

use crate::{
    batches::{Publisher, place},
    restart::BEGIN,
    tiny,
};
use mainstem_model::ReadFilter;
use mainstem_store::{Append, Completion, DiskLog, EventLog, Write, Writer, WriterConfig};
use std::{
    env,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

/// L6. The process dies at a random acknowledgement, in the middle of a write more often than not.
#[test]
fn l6_what_was_acknowledged_outlives_kill_9() {
    // This test again, as the process that is killed.
    if let Some(folder) = env::var_os("MAINSTEM_STORE_CHILD") {
        return write_until_killed(folder.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    drop(DiskLog::open(folder.path(), &tiny(), 7).unwrap());
    // Batches, not positions: those leap at every opening.
    let (mut kept, mut torn) = (0_u64, 0);
    for round in 0..20_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["crash::l6_what_was_acknowledged_outlives_kill_9", "--exact", "--nocapture"])
            .env("MAINSTEM_STORE_CHILD", folder.path())
            .env("MAINSTEM_STORE_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let until = 1 + round * 37 % 190;
        let mut acked = kept;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            acked += u64::from(line.starts_with("stored "));
            if acked >= kept + until {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(acked > kept, "round {round}: the child stored nothing");
        let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
        let batches = log.stats(place(0)).unwrap().batches;
        assert!(batches >= acked, "round {round}: {acked} were acknowledged, {batches} are kept");
        torn += u64::from(batches > acked);
        kept = batches;
    }
    let log = DiskLog::open(folder.path(), &tiny(), 7).unwrap();
    let page = log.page(place(0), BEGIN, &ReadFilter::ALL, usize::MAX, usize::MAX).unwrap();
    assert_eq!((page.batches.len() as u64, page.damaged.len(), page.at_end), (kept, 0, true));
    println!("{kept} batches kept over 20 kills; more than acknowledged were kept {torn} times");
}

fn write_until_killed(folder: &Path) {
    let round: u64 = env::var("MAINSTEM_STORE_ROUND").unwrap().parse().unwrap();
    let log = Arc::new(DiskLog::open(folder, &tiny(), 7).unwrap());
    let writer = Writer::spawn(log, WriterConfig::default(), |done| {
        if let Completion::Stored(writes) = done {
            let mut out = std::io::stdout().lock();
            for (_, position) in writes {
                writeln!(out, "stored {position}").unwrap();
            }
            out.flush().unwrap();
        }
    })
    .unwrap();
    let mut publisher = Publisher::new(1, round + 1, place(0));
    for token in 0.. {
        let Append { batch, received_at, past } = publisher.batch_of(&[i64::try_from(token).unwrap()], 2000);
        writer.submit(Write { token, batch, received_at, durable: token % 7 == 0, past });
    }
}
