//! What was measured: a table for people, JSON for programs.

use super::BenchArgs;
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::path::Path;

/// One run and its figures.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    figures: Vec<(&'static str, f64)>,
    /// What some of them are to be.
    aims: Vec<(&'static str, &'static str)>,
    /// Those of them that must be so, and are not.
    missed: Vec<&'static str>,
}

impl Row {
    pub(crate) const fn new(name: String) -> Self {
        Self { name, figures: Vec::new(), aims: Vec::new(), missed: Vec::new() }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }

    /// A figure, and what it is to be, in words.
    pub(crate) fn aimed(mut self, name: &'static str, value: f64, aim: &'static str) -> Self {
        self.aims.push((name, aim));
        self.with(name, value)
    }

    /// The same of one without which the bench has failed.
    pub(crate) fn required(mut self, name: &'static str, value: f64, aim: &'static str, is_so: bool) -> Self {
        if !is_so {
            self.missed.push(name);
        }
        self.aimed(name, value, aim)
    }

    fn aim(&self, name: &str) -> Option<&'static str> {
        self.aims.iter().find(|(other, _)| *other == name).map(|(_, aim)| *aim)
    }

    /// A figure by its name; 0 when it was not taken.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.figures.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, value)| *value)
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    setup: Value,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(args: &BenchArgs) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let setup = json!({
            "cores": cores,
            "event_bytes": args.event_bytes,
            "batch_bytes": args.batch_bytes,
            "seconds": args.seconds(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Self { setup, rows: Vec::new(), notes: Vec::new() }
    }

    /// Shows a row at once: a bench takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        let mut text = format!("{}\n", row.name);
        for (name, value) in &row.figures {
            let aim = row.aim(name).map_or_else(String::new, |aim| format!("   (aim: {aim})"));
            text.push_str(&format!("    {name:<32} {}{aim}\n", number(*value)));
        }
        crate::cli::say(&text);
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: &str) {
        crate::cli::say(note);
        self.notes.push(note.to_owned());
    }

    /// Figures that had to be as aimed at, and are not, each with its row.
    pub(crate) fn missed(&self) -> Vec<String> {
        let of =
            |row: &Row| row.missed.iter().map(|name| format!("{name} of {}", row.name)).collect::<Vec<_>>();
        self.rows.iter().flat_map(of).collect()
    }

    /// Compares where there is something to compare, and writes the file.
    pub(crate) fn finish(mut self, folder: &Path) -> anyhow::Result<()> {
        let rate = |rows: &[Row], begin: &str| {
            rows.iter().find(|row| row.name.starts_with(begin)).map(|row| row.figure("events_per_s"))
        };
        if let (Some(ours), Some(theirs)) =
            (rate(&self.rows, "throughput over QUIC, 1 "), rate(&self.rows, "NATS"))
        {
            self.note(&format!("{:.2} times NATS JetStream in the same run", ours / theirs));
        }
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let figures: Map<String, Value> =
                    row.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                let aims: Map<String, Value> =
                    row.aims.iter().map(|(name, aim)| ((*name).to_owned(), json!(aim))).collect();
                if aims.is_empty() {
                    return json!({ "run": row.name, "figures": figures });
                }
                json!({ "run": row.name, "figures": figures, "aims": aims })
            })
            .collect();
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("bench.json");
        let report = json!({ "setup": self.setup, "runs": rows, "notes": self.notes });
        std::fs::write(&file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        crate::cli::say(&format!("written to {}", file.display()));
        Ok(())
    }
}

/// Large numbers with separators, small ones with three digits behind the point.
fn number(value: f64) -> String {
    if value.abs() < 1000.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Report, Row};
    use serde_json::Value;

    #[test]
    fn only_what_was_required_is_missed() {
        let row = Row::new("soak".into())
            .aimed("a", 2.0, "at most 1")
            .required("b", 1.0, "at most 1", true)
            .required("c", 2.0, "at most 1", false);
        let report = Report { setup: Value::Null, rows: vec![row], notes: Vec::new() };
        assert_eq!(report.missed(), ["c of soak"]);
    }

    #[test]
    fn large_numbers_are_shown_in_groups_of_three() {
        assert_eq!(super::number(1_234_567.8), "1 234 568");
        assert_eq!(super::number(0.5), "0.500");
    }
}
