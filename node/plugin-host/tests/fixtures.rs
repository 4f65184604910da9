//! Every module of `plugins/fixtures` ends as its table says, within its bounds, and the host lives on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says why")]

mod guest;
mod misbehaving;

use guest::{Guest, item, verdicts};
use mainstem_plugin_host::{Compiler, Config, Host, LoadError, Plugin, PluginId};
use misbehaving::{Callee, Fixture, Resident, Spent, call, descriptors, ended, refused, spent};
use std::{collections::BTreeSet, fs, path::Path, time::Duration};
use tempfile::TempDir;
use toml::Table;

/// What a call may take of a processor beyond its deadline.
const OVER_RUN_MAX: Duration = Duration::from_millis(50);

/// A machine that is busy may wake the thread that ends calls late: what took longer is tried again, and must once be in time.
const ATTEMPTS: usize = 4;

/// What an instance may take of memory, in hundredths of its bound.
const MEMORY_HUNDREDTHS_MAX: u64 = 110;

/// As the table says.
const BLOB_BYTES_MAX: u64 = 1 << 20;
const BLOB_FILES_MAX: usize = 16;

struct World {
    host: Host,
    /// A plugin that does what it should, at the same host.
    bystander: Plugin,
    modules: &'static Path,
    /// Folders of plugins' files, each named by its plugin's id.
    files: TempDir,
    ids: BTreeSet<String>,
    longest: Vec<(String, Duration, Spent)>,
}

/// How a fixture ended.
struct End {
    how: String,
    sentence: String,
}

impl World {
    fn new(compiled: &Path) -> Self {
        let config =
            Config { blob_bytes_max: BLOB_BYTES_MAX, blob_files_max: BLOB_FILES_MAX, ..Config::default() };
        // Compiled modules are kept, so that a second load shows what loading takes beside that.
        let host = Host::new(config, Some(compiled.to_owned()), Compiler::InProcess).unwrap();
        let bystander = Guest::answering(&verdicts(&[0])).load_in(&host);
        let files = TempDir::new().unwrap();
        Self {
            host,
            bystander,
            modules: Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures")),
            files,
            ids: BTreeSet::new(),
            longest: Vec::new(),
        }
    }

    /// What is not as the table says.
    fn misfits(&mut self, of: &Fixture<'_>) -> Vec<String> {
        let open = descriptors();
        let end = self.in_time(of);
        println!("{}: {} {}", of.file(), end.how, end.sentence);
        let mut wrong = Vec::new();
        let (right, said) =
            of.text("expect").unwrap().split_once(':').unwrap_or((of.text("expect").unwrap(), ""));
        if right != "any" && (end.how != right || !end.sentence.contains(said)) {
            wrong
                .push(format!("it must end with {right}:{said} and ends with {}: {}", end.how, end.sentence));
        }
        wrong.extend(self.misread(&end));
        if descriptors() != open {
            wrong.push(format!("{} descriptors are open, {open} were", descriptors()));
        }
        if !self.bystander.verify(&[item()]).is_ok_and(|verdicts| verdicts.len() == 1) {
            wrong.push("another plugin does not answer any more".into());
        }
        wrong.extend(self.escaped());
        wrong.into_iter().map(|wrong| format!("{}: {wrong}", of.file())).collect()
    }

    /// Runs it again as long as it was over its time.
    fn in_time(&mut self, of: &Fixture<'_>) -> End {
        let before = self.longest.len();
        for _ in 1..ATTEMPTS {
            let end = self.run(of);
            if self.longest[before..]
                .iter()
                .all(|(_, deadline, took)| took.processor <= *deadline + OVER_RUN_MAX)
            {
                return end;
            }
            self.longest.truncate(before);
        }
        self.run(of)
    }

    fn run(&mut self, of: &Fixture<'_>) -> End {
        let module = of.module(self.modules);
        let id = PluginId::of(&module).to_string();
        let grants = of.grants(&self.files.path().join(&id));
        self.ids.insert(id);
        drop(self.host.load(&module, grants.clone()));
        let resident = Resident::new();
        let (loaded, took) = spent(|| self.host.load(&module, grants));
        self.longest.push((format!("{}, loaded", of.file()), of.deadline(self.host.config()), took));
        match loaded {
            Ok(plugin) => self.call(of, &plugin, &resident),
            Err(error) => End { how: refused(&error), sentence: LoadError::to_string(&error) },
        }
    }

    fn call(&mut self, of: &Fixture<'_>, plugin: &Plugin, resident: &Resident) -> End {
        let mut end = self.calls(of, plugin);
        let (grown, counted) = (resident.grown(), plugin.counters().memory_bytes_high);
        let most = of.memory_bytes(self.host.config()) * MEMORY_HUNDREDTHS_MAX / 100;
        if grown.max(counted) > most {
            end.how = format!("{} with {counted} bytes of memory, {grown} of the process", end.how);
        }
        end
    }

    fn calls(&mut self, of: &Fixture<'_>, plugin: &Plugin) -> End {
        let (mut on, mut state) = (Callee::Plugin, vec![1; 8]);
        for what in of.calls() {
            let (result, took) = spent(|| call(plugin, &mut on, &mut state, &what));
            self.longest.push((format!("{}, {what}", of.file()), of.deadline(self.host.config()), took));
            match result {
                Err(error) => return End { how: ended(&error).into(), sentence: error.to_string() },
                Ok(read) if read.iter().any(|read| *read != of.read_as(&what)) => {
                    return End { how: format!("ok with {read:?}"), sentence: String::new() };
                }
                Ok(_) => {}
            }
        }
        End { how: "ok".into(), sentence: String::new() }
    }

    /// A sentence is one line for people. Of a call it names the plugin; who loads a module names its file.
    fn misread(&self, end: &End) -> Option<String> {
        let End { how, sentence } = end;
        let short = sentence.len() < 2_000 && !sentence.chars().any(char::is_control);
        let reason = if how.starts_with("load.") {
            sentence.len() > 20
        } else if how.starts_with("failed.") {
            // A plugin may give no more than the code.
            sentence.starts_with("plugin guest answers ")
        } else {
            let told = sentence.split_once(": ").is_some_and(|(_, reason)| !reason.is_empty());
            sentence.starts_with("plugin guest ") && told
        };
        let told = how.starts_with("ok") || reason;
        (!short || !told).then(|| format!("its end is not told: {sentence:?}"))
    }

    /// What plugins have left where they may not.
    fn escaped(&self) -> Option<String> {
        for folder in fs::read_dir(self.files.path()).unwrap().map(Result::unwrap) {
            let name = folder.file_name().into_string().unwrap();
            if !self.ids.contains(&name) {
                return Some(format!("there is {name} beside the folders of plugins"));
            }
            let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap());
            let sizes: Vec<u64> =
                files.map(|file| if file.is_file() { file.len() } else { u64::MAX }).collect();
            // The lock is one of them.
            if sizes.len() > BLOB_FILES_MAX + 1 || sizes.iter().sum::<u64>() > BLOB_BYTES_MAX {
                return Some(format!("{name} has files of {sizes:?} bytes"));
            }
        }
        None
    }
}

#[test]
fn each_misbehaving_module_ends_as_its_table_says_in_its_time_and_with_its_memory() {
    let compiled = TempDir::new().unwrap();
    let mut world = World::new(compiled.path());
    let table: Table = fs::read_to_string(world.modules.join("fixtures.toml")).unwrap().parse().unwrap();
    let fixtures = table["fixture"].as_array().unwrap();
    assert!(fixtures.len() > 550);
    let fixtures = fixtures.iter().map(|of| Fixture(of.as_table().unwrap()));
    // The others are large to compile; `bombs.rs` does so.
    let here = fixtures.filter(|of| of.text("made_by").is_none());
    let mut misfits: Vec<String> = here.flat_map(|of| world.misfits(&of)).collect();
    let over = |spent: Duration, deadline: Duration| spent.saturating_sub(deadline);
    for (what, deadline, took) in &world.longest {
        if over(took.processor, *deadline) > OVER_RUN_MAX {
            misfits.push(format!(
                "{what}: {:?} of a processor, with a deadline of {deadline:?}",
                took.processor
            ));
        }
    }
    let most = |by: fn(&Spent) -> Duration| {
        let longest = world.longest.iter().max_by_key(|(_, deadline, took)| over(by(took), *deadline));
        longest.map(|(what, deadline, took)| format!("{:?} ({what})", over(by(took), *deadline)))
    };
    println!(
        "beyond a deadline: of a processor {:?}, on the clock {:?}",
        most(|took| took.processor),
        most(|took| took.wall)
    );
    assert!(misfits.is_empty(), "{}:\n{}", misfits.len(), misfits.join("\n"));
}
