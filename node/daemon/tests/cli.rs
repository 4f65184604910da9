//! The built program, as a shell sees it: output, errors, exit codes; and one walk through a whole `mainstem dev`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Second account of the development chain, which everybody knows.
const OTHER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const OTHER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";

/// The program with no environment of ours but a data folder.
fn program(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstem"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("MAINSTEM_DATA_DIR", data_dir).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    program(data_dir, arguments).output().unwrap()
}

fn run_with(data_dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = program(data_dir, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", out(output), err(output));
    out(output)
}

#[track_caller]
fn json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

#[test]
fn the_allocator_has_the_settings_of_the_program() {
    let folder = folder();
    let output =
        program(folder.path(), &["--version"]).env("_RJEM_MALLOC_CONF", "stats_print:true").output().unwrap();
    check(&output, 0);
    for setting in ["\"dirty_decay_ms:1000,max_background_threads:1\"", "opt.dirty_decay_ms: 1000"] {
        assert!(err(&output).contains(setting), "{setting}\n{}", err(&output));
    }
    assert!(!err(&output).contains("Invalid conf"), "{}", err(&output));
}

#[test]
fn help_names_every_exit_code() {
    let folder = folder();
    let help = check(&run(folder.path(), &["--help"]), 0);
    for code in [64, 65, 69, 74, 77] {
        assert!(help.contains(&format!("  {code}  ")), "{help}");
    }
    for arguments in [
        &["stream", "publish", "--help"] as &[&str],
        &["doctor", "--help"],
        &["identity", "delegate", "--help"],
    ] {
        assert!(check(&run(folder.path(), arguments), 0).contains("Example"), "{arguments:?}");
    }
}

#[test]
fn every_shell_has_completions() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = check(&run(folder.path(), &["completions", shell]), 0);
        assert!(script.contains("grant-permission"), "{shell}");
    }
}

#[test]
fn wrong_use_exits_with_64() {
    let folder = folder();
    for arguments in [
        &[] as &[&str],
        &["fly"],
        &["stream"],
        &["stream", "show"],
        &["stream", "show", "not-a-stream"],
        &["stream", "create", "-p", "0"],
        &["stream", "create", "-p", "101"],
        &["stream", "publish", "/a", "-p", "1", "-k", "field"],
        &["stream", "publish", "/a", "--ack", "sometimes"],
        &["stream", "subscribe", "/a", "--last", "1", "--from", "0"],
        &["stream", "resend", "from", "yesterday", "/a"],
        &["stream", "grant", "/a", "bob", "publish"],
        &["stream", "grant", "/a", "public", "fly"],
        &["stream", "create", "--public", "delete"],
        &["identity", "whoami", "--private-key", "0x1"],
        &["identity", "whoami", "--private-key", OTHER_KEY, "--key-file", "x"],
        &["completions", "tcsh"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(check(&output, 64), "", "{arguments:?}");
        assert!(!err(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_configuration_is_checked_and_a_wrong_one_exits_with_64() {
    let folder = folder();
    let file = folder.path().join("mainstem.toml");
    let file = file.to_str().unwrap();
    check(&run(folder.path(), &["init", file]), 0);
    assert!(check(&run(folder.path(), &["node", "--config", file, "--check"]), 0).contains("is good"));
    let output = run(folder.path(), &["node", "--config", file]);
    check(&output, 64);
    assert!(err(&output).contains("[chain.contracts]"), "{}", err(&output));
    for wrong in ["nonsense = 1", "http_listen = 'here'", "[websocket]\nwrite_buffer_bytes_max = 1"] {
        fs::write(file, wrong).unwrap();
        let output = run(folder.path(), &["node", "--config", file, "--check"]);
        assert_eq!(check(&output, 64), "", "{wrong}");
        assert!(err(&output).contains(file), "{wrong}: {}", err(&output));
    }
}

#[test]
fn a_missing_profile_is_named_with_the_remedy() {
    let folder = folder();
    let output = run(folder.path(), &["stream", "show", "/a"]);
    check(&output, 64);
    let message = err(&output);
    assert!(message.contains(folder.path().join("connection.json").to_str().unwrap()), "{message}");
    assert!(message.contains("mainstem dev") && message.contains("--profile"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let folder = folder();
    for arguments in [&["--json", "stream", "show", "/a"] as &[&str], &["stream", "show", "--json"]] {
        let output = run(folder.path(), arguments);
        check(&output, 64);
        let lines = json(&err(&output));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["error"]["code"], "INVALID_ARGUMENT");
        assert!(lines[0]["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

#[test]
fn a_generated_key_is_the_owners_only_and_never_overwritten() {
    let folder = folder();
    let file = folder.path().join("alice.key");
    let path = file.to_str().unwrap();
    let made = json(&check(&run(folder.path(), &["identity", "generate", "--out", path, "--json"]), 0));
    let key = fs::read_to_string(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!made[0].to_string().contains(key.trim()), "a key written to a file is not printed");

    check(&run(folder.path(), &["identity", "generate", "--out", path]), 74);
    assert_eq!(fs::read_to_string(&file).unwrap(), key);

    let address = made[0]["address"].as_str().unwrap();
    let by_file = check(&run(folder.path(), &["identity", "whoami", "--key-file", path]), 0);
    let by_option = check(&run(folder.path(), &["identity", "whoami", "--private-key", key.trim()]), 0);
    let by_environment =
        program(folder.path(), &["identity", "whoami"]).env("MAINSTEM_PRIVATE_KEY", key.trim()).output();
    for answer in [by_file, by_option, check(&by_environment.unwrap(), 0)] {
        assert_eq!(answer.trim(), address);
    }
}

#[test]
fn generated_keys_differ_and_are_of_their_address() {
    let folder = folder();
    let generate = || json(&check(&run(folder.path(), &["identity", "generate", "--json"]), 0)).remove(0);
    let (one, two) = (generate(), generate());
    assert_ne!(one["privateKey"], two["privateKey"]);
    let key = one["privateKey"].as_str().unwrap();
    let answer = check(&run(folder.path(), &["identity", "whoami", "--private-key", key]), 0);
    assert_eq!(answer.trim(), one["address"].as_str().unwrap());
}

#[test]
fn an_unreadable_key_file_is_an_input_output_error() {
    let folder = folder();
    check(&run(folder.path(), &["identity", "whoami", "--key-file", "/nowhere/a.key"]), 74);
}

#[test]
fn a_key_file_that_others_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let file = folder.path().join("open.key");
    fs::write(&file, format!("{OTHER_KEY}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(folder.path(), &["identity", "whoami", "--key-file", file.to_str().unwrap()]);
    assert_eq!(check(&output, 0).trim(), OTHER);
    assert!(err(&output).contains("chmod 600"), "{}", err(&output));
}

#[test]
fn a_dead_broker_and_a_dead_chain_exit_with_69() {
    let folder = folder();
    // Port 9 of the loopback: nobody listens there.
    let profile = r#"{"broker":"quic://127.0.0.1:9","pin":"1111111111111111111111111111111111111111111111111111111111111111",
        "rpc":"http://127.0.0.1:9","http":"http://127.0.0.1:9","deployment":{"chain_id":31337,"block":0,
        "stream_registry":"0x0000000000000000000000000000000000000001","data_coin":"0x0000000000000000000000000000000000000002",
        "event_verifier":"0x0000000000000000000000000000000000000003",
        "network_coordinator":"0x0000000000000000000000000000000000000004"}}"#;
    fs::write(folder.path().join("connection.json"), profile).unwrap();
    let stream = "0x00000000000000000000000000000000000000ff";
    check(&run(folder.path(), &["stream", "show", stream]), 69);
    check(&run(folder.path(), &["stream", "search"]), 69);
    check(&run(folder.path(), &["network"]), 69);
    check(&run(folder.path(), &["network", "--watch"]), 69);
    check(&run(folder.path(), &["stream", "list-permissions", stream]), 69);
    // Without a key nothing can be published, and nothing of one's own be named.
    check(&run(folder.path(), &["stream", "publish", stream]), 64);
    check(&run(folder.path(), &["stream", "show", "/a"]), 64);
    // The pin must be a pin before anybody is asked.
    check(&run(folder.path(), &["stream", "subscribe", stream, "--pin", "12"]), 64);
}

#[test]
fn doctor_fails_without_a_profile_and_leaves_no_store_behind() {
    let folder = folder();
    let store = folder.path().join("store");
    fs::create_dir(&store).unwrap();
    let output = run(folder.path(), &["doctor", "--json", "--store", store.to_str().unwrap()]);
    let findings = json(&check(&output, 1));
    let status = |check: &str| {
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("{check} was not checked"))["status"].clone()
    };
    assert_eq!(status("profile"), "fail");
    assert_eq!(status("data folder"), "ok");
    assert_eq!(status("store"), "fail");
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let folder = folder();
    let mut child = program(folder.path(), &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

/// A running `mainstem dev` on free ports.
struct Dev {
    folder: TempDir,
    child: Child,
}

impl Dev {
    fn start() -> Self {
        let folder = folder();
        let ports = ["dev", "--quic-port", "0", "--http-port", "0", "--rpc-port", "0"];
        let mut child = program(folder.path(), &ports).stdout(Stdio::piped()).spawn().unwrap();
        // It says that it is up once everything listens and the profile is there.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_up = lines.by_ref().map_while(Result::ok).any(|line| line.contains("is up"));
        // What else it says is read away, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        assert!(is_up, "mainstem dev did not start");
        Self { folder, child }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(self.folder.path(), arguments)
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        run_with(self.folder.path(), arguments, input)
    }

    /// The same as the second account.
    fn run_as_other(&self, arguments: &[&str], input: &str) -> Output {
        self.run_with(&[arguments, &["--private-key", OTHER_KEY]].concat(), input)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_whole_walk_from_create_to_delete() {
    let dev = Dev::start();
    let created = dev.run(&["stream", "create", "/rooms", "-p", "3", "-d", "room temperatures", "--json"]);
    let created = json(&check(&created, 0)).remove(0);
    let id = created["id"].as_str().unwrap();
    assert!(created["alias"].as_str().unwrap().ends_with("/rooms"));

    shows_and_finds(&dev, id);
    publishes_and_resends(&dev, id);
    bad_times_spare_the_lines_beside_them(&dev);
    chooses_partitions_by_key(&dev);
    shares(&dev, id);
    lends_its_name(&dev);
    reads_on_from_a_cursor(&dev);
    is_healthy(&dev);
    shows_that_it_is_alone(&dev);
    leaves_no_connection_behind(&dev);

    check(&dev.run(&["stream", "delete", "/rooms"]), 0);
    let gone = dev.run(&["--json", "stream", "show", id]);
    check(&gone, 65);
    assert_eq!(json(&err(&gone))[0]["error"]["code"], "STREAM_NOT_FOUND");
}

fn shows_and_finds(dev: &Dev, id: &str) {
    let shown = json(&check(&dev.run(&["stream", "show", "/rooms", "--json"]), 0)).remove(0);
    assert_eq!((&shown["id"], &shown["partitions"]), (&Value::from(id), &Value::from(3)));
    assert_eq!(shown["metadata"]["description"], "room temperatures");
    assert!(check(&dev.run(&["stream", "search", "TEMPERATURES"]), 0).contains(id));
    assert!(check(&dev.run(&["stream", "search", "--user", "--all", "publish,subscribe"]), 0).contains(id));
    assert_eq!(check(&dev.run(&["stream", "search", "--public"]), 0), "");
    assert_eq!(check(&dev.run(&["stream", "search", "nothing has this"]), 0), "");
    check(&dev.run(&["stream", "create", "/rooms"]), 1);
}

fn publishes_and_resends(dev: &Dev, id: &str) {
    let output = dev.run_with(
        &["stream", "publish", "/rooms", "--json"],
        "{\"n\":1}\n\n{\"n\":2}\nnonsense\n{\"n\": 3}\n",
    );
    let told = json(&check(&output, 65)).remove(0);
    assert_eq!((&told["published"], &told["refused"]), (&Value::from(3), &Value::from(1)));
    assert_eq!(json(&err(&output))[0]["error"]["line"], 4);
    // Blank lines and bad ones are left out, the others are as they were written.
    let all = "{\"n\":1}\n{\"n\":2}\n{\"n\": 3}\n";
    assert_eq!(check(&dev.run(&["stream", "resend", "last", "10", "/rooms"]), 0), all);
    assert_eq!(check(&dev.run(&["stream", "resend", "last", "1", id]), 0), "{\"n\": 3}\n");
    assert_eq!(
        check(&dev.run(&["stream", "resend", "from", "2020-01-01T00:00:00Z", "/rooms", "--count", "2"]), 0),
        "{\"n\":1}\n{\"n\":2}\n"
    );
    let range = ["stream", "resend", "range", "0", "2100-01-01T00:00:00Z", "/rooms"];
    assert_eq!(check(&dev.run(&range), 0), all);
    assert_eq!(check(&dev.run(&["stream", "resend", "range", "0", "1", "/rooms"]), 0), "");
    check(&dev.run(&["stream", "resend", "range", "2", "1", "/rooms"]), 64);
    check(&dev.run(&["stream", "resend", "last", "1", "/rooms#3"]), 65);

    let file = dev.folder.path().join("binary.txt");
    fs::write(&file, "aGk=\n").unwrap();
    let publish =
        ["stream", "publish", "/rooms#1", "-b", "--ack", "durable", "--file", file.to_str().unwrap()];
    check(&dev.run(&publish), 0);
    assert_eq!(check(&dev.run(&["stream", "resend", "last", "1", "/rooms#1", "-b"]), 0), "aGk=\n");
    assert_eq!(check(&dev.run(&["stream", "resend", "last", "1", "/rooms", "-p", "1", "-r"]), 0), "hi\n");
}

fn bad_times_spare_the_lines_beside_them(dev: &Dev) {
    check(&dev.run(&["stream", "create", "/timed"]), 0);
    let lines = "{\"content\":1}\n{\"content\":2,\"metadata\":{\"timestamp\":5}}\n{\"content\":3}\n";
    let output = dev.run_with(&["stream", "publish", "/timed", "-m", "--json"], lines);
    let told = json(&check(&output, 65)).remove(0);
    assert_eq!((&told["published"], &told["refused"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(json(&err(&output))[0]["error"]["line"], 2);
    assert_eq!(check(&dev.run(&["stream", "resend", "last", "10", "/timed"]), 0), "1\n3\n");
}

#[test]
fn the_folder_of_a_running_node_is_not_reset() {
    let dev = Dev::start();
    check(&dev.run(&["stream", "create", "/kept"]), 0);
    let ports = ["dev", "--reset", "--quic-port", "0", "--http-port", "0", "--rpc-port", "0"];
    let output = dev.run(&ports);
    check(&output, 74);
    assert!(err(&output).contains("is running"), "{}", err(&output));
    check(&dev.run(&["stream", "show", "/kept"]), 0);
}

fn chooses_partitions_by_key(dev: &Dev) {
    let lines: String = (0..6).map(|n| format!("{{\"k\":{n}}}\n")).collect();
    check(&dev.run_with(&["stream", "create", "/keyed", "-p", "3"], ""), 0);
    check(&dev.run_with(&["stream", "publish", "/keyed", "-k", "k"], &lines), 0);
    for (partition, expected) in
        [("0", "{\"k\":0}\n{\"k\":3}\n"), ("1", "{\"k\":1}\n{\"k\":4}\n"), ("2", "{\"k\":2}\n{\"k\":5}\n")]
    {
        let read = dev.run(&["stream", "resend", "last", "9", "/keyed", "-p", partition]);
        assert_eq!(check(&read, 0), expected, "partition {partition}");
    }
}

fn shares(dev: &Dev, id: &str) {
    let publish = ["stream", "publish", id];
    let read = ["stream", "resend", "last", "1", id];
    let change = ["stream", "grant", id, OTHER, "subscribe"];
    for arguments in [&publish[..], &read, &change] {
        check(&dev.run_as_other(arguments, "{\"n\":4}\n"), 77);
    }
    let grant =
        ["stream", "grant-permission", id, OTHER, "publish", "--until", "2100-01-01T00:00:00Z", "--json"];
    let told = json(&check(&dev.run(&grant), 0)).remove(0);
    assert_eq!(told["permissions"], serde_json::json!(["publish"]));
    check(&dev.run(&["stream", "grant", id, "public", "subscribe"]), 0);
    let list = check(&dev.run(&["stream", "list-permissions", id]), 0);
    assert!(list.contains(OTHER) && list.contains("public") && list.contains("2100-01-01"), "{list}");
    assert!(check(&dev.run(&["stream", "search", "--public"]), 0).contains(id));

    check(&dev.run_as_other(&publish, "{\"n\":4}\n"), 0);
    assert_eq!(check(&dev.run_as_other(&read, ""), 0), "{\"n\":4}\n");
    let of_other = ["stream", "resend", "last", "9", id, "--publisher-id", OTHER, "-m"];
    let events = json(&check(&dev.run(&of_other), 0));
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["content"]["n"], &events[0]["metadata"]["publisherId"]),
        (&Value::from(4), &Value::from(OTHER))
    );

    check(&dev.run(&["stream", "revoke-permission", id, OTHER, "publish"]), 0);
    check(&dev.run_as_other(&publish, "{\"n\":5}\n"), 77);
    check(&dev.run(&["stream", "grant", id, "public", "delete"]), 64);
    check(&dev.run(&["stream", "grant", id, OTHER, "edit", "--until", "2100-01-01T00:00:00Z"]), 64);
}

fn lends_its_name(dev: &Dev) {
    let delegate = [
        "identity",
        "delegate",
        "--session-key-address",
        OTHER,
        "--streams",
        "/rooms",
        "--days",
        "1",
        "--json",
    ];
    let lent = json(&check(&dev.run(&delegate), 0)).remove(0);
    let delegation = lent["delegation"].as_str().unwrap();
    let session = |arguments: &[&str]| {
        dev.run_as_other(&[arguments, &["--delegation", delegation]].concat(), "{\"n\":6}\n")
    };
    assert_eq!(check(&session(&["identity", "whoami"]), 0).trim(), lent["wallet"].as_str().unwrap());
    check(&session(&["stream", "publish", "/rooms"]), 0);
    // Not for this stream, and nothing on the chain.
    check(&session(&["stream", "publish", "/keyed"]), 65);
    check(&session(&["stream", "delete", "/rooms"]), 77);
}

fn reads_on_from_a_cursor(dev: &Dev) {
    check(&dev.run(&["stream", "create", "/cursor"]), 0);
    let lines: String = (0..5).map(|n| format!("{n}\n")).collect();
    check(&dev.run_with(&["stream", "publish", "/cursor"], &lines), 0);
    let first = ["stream", "subscribe", "/cursor", "--last", "5", "--count", "2", "-m"];
    let events = json(&check(&dev.run(&first), 0));
    let cursor = events[1]["metadata"]["cursor"].as_str().unwrap();
    let rest = dev.run(&["stream", "subscribe", "/cursor", "--cursor", cursor, "--count", "3"]);
    assert_eq!(check(&rest, 0), "2\n3\n4\n");
}

fn is_healthy(dev: &Dev) {
    let findings = json(&check(&dev.run(&["doctor", "--json"]), 0));
    for check in ["profile", "broker", "chain", "node", "clock", "data folder"] {
        let finding = findings.iter().find(|finding| finding["check"] == check).unwrap();
        assert_eq!(finding["status"], "ok", "{finding}");
    }
}

fn shows_that_it_is_alone(dev: &Dev) {
    let told = json(&check(&dev.run(&["network", "--json"]), 0));
    assert_eq!(told.len(), 1, "one object on one line");
    assert_eq!(
        (&told[0]["broker"]["ready"], &told[0]["peers"]),
        (&Value::from(true), &serde_json::json!([]))
    );
    let shown = check(&dev.run(&["network"]), 0);
    let address = told[0]["broker"]["address"].as_str().unwrap();
    assert!(shown.starts_with(&format!("broker   {address}  ready\n")), "{shown}");
    assert!(shown.contains("alone") && shown.ends_with("0 batches wait for copies\n"), "{shown}");
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// It goes on until it is told to end, and then has done what it was asked.
#[test]
fn a_watched_network_is_shown_again_and_again_until_interrupted() {
    let dev = Dev::start();
    let mut command = program(dev.folder.path(), &["network", "--watch", "--json"]);
    // Ended with the test, also when that fails.
    let mut watching = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(json(&line)[0]["counts"]["peers"], 0, "{line}");
    }
    signal(&watching.0, "-INT");
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
}

/// Commands that end close their connection: the node need not find out by the silence of 15 seconds.
fn leaves_no_connection_behind(dev: &Dev) {
    check(&dev.run(&["stream", "resend", "last", "1", "/rooms"]), 0);
    check(&dev.run_with(&["stream", "publish", "/rooms"], "1\n"), 0);
    let profile = fs::read_to_string(dev.folder.path().join("dev/connection.json")).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let address = profile["http"].as_str().unwrap().strip_prefix("http://").unwrap();
    let metrics = || {
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    let until = Instant::now() + Duration::from_secs(8);
    while !metrics().contains("\nmainstem_broker_sessions 0\n") {
        assert!(Instant::now() < until, "{}", metrics());
    }
}

#[test]
fn doctor_checks_the_store_of_a_node_that_has_stopped() {
    let mut dev = Dev::start();
    check(&dev.run(&["stream", "create", "/kept"]), 0);
    check(&dev.run_with(&["stream", "publish", "/kept", "--ack", "durable"], "1\n2\n"), 0);
    let log = find_log(dev.folder.path()).expect("the node has a store");
    let store = log.to_str().unwrap();
    let locked = json(&check(&dev.run(&["doctor", "--json", "--store", store]), 1));
    assert!(locked.iter().any(|finding| finding["check"] == "store" && finding["status"] == "fail"));

    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    let findings = json(&check(&dev.run(&["doctor", "--json", "--store", store]), 1));
    let status =
        |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap()["status"].clone();
    assert_eq!((status("store"), status("broker")), (Value::from("ok"), Value::from("fail")));
}

/// The folder that holds a store's `lock` and `log`.
/// Sends a signal to a program of ours.
fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_node_says_that_it_is_up_and_how_it_is_reached_and_a_second_signal_ends_it_at_once() {
    let dev = Dev::start();
    let profile = fs::read_to_string(dev.folder.path().join("dev/connection.json")).unwrap();
    let profile: Value = serde_json::from_str(&profile).unwrap();
    let contract = |name: &str| profile["deployment"][name].as_str().unwrap().to_owned();
    let folder = folder();
    let (file, data) = (folder.path().join("mainstem.toml"), folder.path().join("named"));
    let text = format!(
        "http_listen = '0.0.0.0:0'\npublic_name = 'localhost'\ndata_dir = 'of-the-file'\n\
         [quic]\nlisten = '127.0.0.1:0'\n[http]\nhosts = []\n[chain.rpc]\nurls = ['{}']\n[chain.contracts]\nchain_id = 31337\n\
         block = 0\nstream_registry = '{}'\ndata_coin = '{}'\nevent_verifier = '{}'\nnetwork_coordinator = '{}'\n",
        profile["rpc"].as_str().unwrap(),
        contract("stream_registry"),
        contract("data_coin"),
        contract("event_verifier"),
        contract("network_coordinator"),
    );
    fs::write(&file, text).unwrap();
    let mut child = program(folder.path(), &["node", "--config", file.to_str().unwrap(), "--data-dir"])
        .arg(&data)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("the node is up")), "it says nothing");
    // The profile is written next; the folder that was named is the one.
    let profile = loop {
        match fs::read_to_string(data.join("connection.json")) {
            Ok(text) => break serde_json::from_str::<Value>(&text).unwrap(),
            Err(_) => assert!(child.try_wait().unwrap().is_none(), "the node ended"),
        }
    };
    assert!(!folder.path().join("of-the-file").exists());
    assert!(profile["node"].as_str().unwrap().starts_with("0x"), "{profile}");
    assert!(profile["broker"].as_str().unwrap().starts_with("quic://localhost:"), "{profile}");
    let info = check(&run(&data, &["doctor", "--json"]), 0);
    assert!(!info.is_empty());
    // Half a request holds the listener up for the whole of its patience.
    let address = profile["http"].as_str().unwrap().trim_start_matches("http://");
    let mut held = TcpStream::connect(address).unwrap();
    held.write_all(b"GET /info HTTP/1.1\r\nHost: local").unwrap();
    check(&run(&data, &["stream", "search"]), 0);
    signal(&child, "-TERM");
    assert!(lines.any(|line| line.contains("shutting down")));
    signal(&child, "-TERM");
    assert!(lines.any(|line| line.contains("second signal")), "it waited for its connections");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn publishing_ends_when_it_is_told_to_although_the_broker_is_away() {
    let mut dev = Dev::start();
    check(&dev.run(&["stream", "create", "/acks"]), 0);
    let mut child = program(dev.folder.path(), &["stream", "publish", "/acks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"n\":1}\n").unwrap();
    while check(&dev.run(&["stream", "resend", "last", "1", "/acks"]), 0).is_empty() {}
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    // More than what may lie in pipes and queues before it, so that some of it was handed in.
    let line = format!("{{\"n\":\"{}\"}}\n", "x".repeat(1_000));
    input.write_all(line.repeat(1_000).as_bytes()).unwrap();
    // At its end it waits for acks that do not come.
    drop(input);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    check(&output, 69);
    assert!(err(&output).contains("not acked"), "{}", err(&output));
}

fn find_log(folder: &Path) -> Option<std::path::PathBuf> {
    if folder.join("lock").is_file() && folder.join("log").is_dir() {
        return Some(folder.to_owned());
    }
    let folders = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    folders.into_iter().find_map(|folder| find_log(&folder))
}
