use super::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on stderr, or nothing where nobody would see it. Without a length it counts only.
pub(crate) fn events(out: Output, length: Option<u64>) -> ProgressBar {
    bar(out.shows_progress_beside_results(), length, "{human_pos}/{human_len} events", "{human_pos} events")
}

/// The same for bytes.
pub(crate) fn bytes(shown: bool, length: Option<u64>) -> ProgressBar {
    bar(shown, length, "{bytes}/{total_bytes}", "{bytes}")
}

fn bar(shown: bool, length: Option<u64>, whole: &str, counted: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
    if !shown {
        bar.set_draw_target(ProgressDrawTarget::hidden());
        return bar;
    }
    let template = match length {
        Some(_) => format!("{{bar:30}} {whole} {{per_sec}} {{eta}} {{msg}}"),
        None => format!("{{spinner}} {counted} {{per_sec}} {{msg}}"),
    };
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
