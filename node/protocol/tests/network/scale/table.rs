//! What was measured, as a table and as a picture.

use super::Row;
use plotters::prelude::*;
use std::{error::Error, fs, path::Path};

/// The greatest delay that the picture shows, milliseconds.
const DELAY_MAX: i64 = 1_200;
const SIZE: (u32, u32) = (760, 420);
const HEAD: &str = "| brokers | how | faults | delivered | p50 ms | p99 ms | hops (most) | copies | control B/s | sessions (most) |\n|---|---|---|---|---|---|---|---|---|---|\n";

/// One row of the table.
pub(super) fn line(row: &Row) -> String {
    let delivered = 100.0 * (row.owed - row.missing) as f64 / row.owed.max(1) as f64;
    // What is not whole is not shown as if it were.
    let delivered = if row.missing > 0 { delivered.min(99.999) } else { delivered };
    format!(
        "| {} | {} | {} | {delivered:.3} % | {} | {} | {:.1} ({}) | {:.2} | {:.0} | {} |",
        row.brokers,
        row.way,
        row.trouble,
        row.p50_ms,
        row.p99_ms,
        row.hops,
        row.hops_max,
        row.copies,
        row.control,
        row.sessions_max,
    )
}

/// Writes `scale.md` and `scale.svg`.
pub(super) fn write(rows: &[Row], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let lines: Vec<_> = rows.iter().map(line).collect();
    fs::write(folder.join("scale.md"), format!("{HEAD}{}\n", lines.join("\n"))).unwrap();
    draw(rows, &folder.join("scale.svg")).unwrap();
}

/// How many of all deliveries have come after how long, in the largest network.
fn draw(rows: &[Row], path: &Path) -> Result<(), Box<dyn Error>> {
    let most = rows.iter().map(|row| row.brokers).max().unwrap_or(0);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption(format!("{most} brokers with a reader each"), ("sans-serif", 16))
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0..DELAY_MAX, 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("milliseconds since a batch was published")
        .y_desc("% of all deliveries")
        .draw()?;
    let shown = rows.iter().filter(|row| row.brokers == most && matches!(row.trouble, "-" | "5 % loss"));
    for (index, row) in shown.enumerate() {
        let color = Palette99::pick(index / 2).mix(if row.trouble == "-" { 1.0 } else { 0.5 });
        let mut come = 0;
        let points = row.delays_ms.iter().map(|(delay, count)| {
            come += count;
            (*delay, 100.0 * come as f64 / row.owed.max(1) as f64)
        });
        let mut line = vec![(0, 0.0)];
        for (delay, percent) in points.take_while(|(delay, _)| *delay <= DELAY_MAX) {
            // What the eye sees.
            if line.last().is_none_or(|(_, before)| percent - before >= 0.2) {
                line.push((delay, percent));
            }
        }
        let faults = if row.trouble == "-" { "" } else { ", 5 % loss" };
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(format!("{}{faults}: {:.2} copies", row.way, row.copies))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
