use super::failure::Failure;
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};

/// Where results and complaints go. Results to stdout, all else to stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// One result: an object on one line, or text for people.
    pub(crate) fn result(self, object: &Value, text: &str) -> io::Result<()> {
        if self.json { self.bytes(format!("{object}\n").as_bytes()) } else { self.line(text) }
    }

    /// A line as it is.
    pub(crate) fn line(self, text: &str) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Whole lines at once.
    pub(crate) fn bytes(self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }

    /// Something that went on beside the results. Nobody reading it is no reason to stop.
    pub(crate) fn notice(self, object: &Value, text: &str) {
        let line = if self.json { object.to_string() } else { text.to_owned() };
        drop(writeln!(io::stderr().lock(), "{line}"));
    }

    /// Why the command ends.
    pub(crate) fn failure(self, failure: &Failure) {
        let object = json!({"error": {"code": failure.code, "message": failure.message}});
        self.notice(&object, &format!("error: {}", failure.message));
    }

    /// Whether a progress bar would be seen.
    pub(crate) fn shows_progress(self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The same where results are printed meanwhile: a bar among them on one terminal would spoil both.
    pub(crate) fn shows_progress_beside_results(self) -> bool {
        self.shows_progress() && !io::stdout().is_terminal()
    }
}
