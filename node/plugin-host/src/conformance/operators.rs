use super::{Finding, Noise, finding, samples};
use crate::{CallError, Column, Emitted, Event, Operator, Plugin, Rows, Values};
use mainstem_plugin_abi::{ColumnType, OperatorClaim, Port};

/// Rows of a batch.
const ROWS: usize = 200;
/// Time of the first row, ms since 1970.
const START_MS: i64 = 1_700_000_000_000;

pub(super) fn findings(plugin: &Plugin, claim: &OperatorClaim) -> Vec<Finding> {
    let about = |what: &str| format!("{}: {what}", claim.name);
    let defaults = samples(&claim.parameters);
    let start = || plugin.operator(&claim.name, &defaults).map_err(|error| error.to_string());
    let mut findings = vec![finding(about("it starts"), start().map(drop))];
    if findings[0].fault.is_some() {
        return findings;
    }
    let run =
        |operator: &mut Operator, seed: u64| run(operator, claim, seed).map_err(|error| error.to_string());
    let told = |seeds: &[u64]| {
        let mut operator = start()?;
        seeds.iter().map(|seed| run(&mut operator, *seed)).collect::<Result<Vec<_>, _>>()
    };
    let first = told(&[1, 2]);
    findings.push(finding(about("it takes rows at each input, and none too"), first.clone().map(drop)));
    let Ok(first) = first else { return findings };
    let again = told(&[1, 2]).and_then(|again| differs(&first, &again));
    findings.push(finding(about("the same calls give the same replies"), again));
    let restored = || -> Result<(), String> {
        let mut before = start()?;
        run(&mut before, 1)?;
        let state = before.snapshot().map_err(|error| error.to_string())?;
        let twice = before.snapshot().map_err(|error| error.to_string())?;
        if state != twice {
            return Err("a second snapshot is another one".into());
        }
        let mut after = start()?;
        after.restore(&state).map_err(|error| error.to_string())?;
        differs(&first[1..], &[run(&mut after, 2)?])?;
        differs(&first[1..], &[run(&mut before, 2)?])
            .map_err(|fault| format!("a snapshot changed it: {fault}"))
    };
    findings.push(finding(about("a snapshot that is restored goes on as it would have"), restored()));
    let refused = || match start()?.restore(&Noise(99).bytes(37)) {
        Err(CallError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Err("it took it".into()),
    };
    findings.push(finding(about("what is no state of its own is refused"), refused()));
    findings
}

/// A batch at each input, an empty one too, and a watermark behind them.
fn run(operator: &mut Operator, claim: &OperatorClaim, seed: u64) -> Result<Vec<Emitted>, CallError> {
    let mut told = Vec::new();
    let at = START_MS + seed as i64 * 60_000;
    for (number, port) in (0..).zip(&claim.inputs) {
        told.extend(operator.on_batch(number, &rows(port, 0, at, seed))?);
        told.extend(operator.on_batch(number, &rows(port, ROWS, at, seed))?);
    }
    told.extend(operator.on_watermark(at + 60_000)?);
    Ok(told)
}

fn differs(expected: &[Vec<Emitted>], found: &[Vec<Emitted>]) -> Result<(), String> {
    // As text, where NaN is NaN.
    if format!("{expected:?}") == format!("{found:?}") { Ok(()) } else { Err("the rows are others".into()) }
}

fn rows(port: &Port, count: usize, start_ms: i64, seed: u64) -> Rows {
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let timestamps = (0..count).map(|row| start_ms + row as i64 * 100).collect();
    let mut some = |column: ColumnType| match column {
        ColumnType::Int64 => Column::Int64((0..count).map(|_| noise.number() as i64 % 1_000).collect()),
        ColumnType::Float64 => {
            Column::Float64((0..count).map(|_| (noise.number() % 10_000) as f64 / 100.0 - 50.0).collect())
        }
        ColumnType::Text => Column::Text((0..count).map(|_| hex::encode(noise.bytes(5))).collect()),
        ColumnType::Data => Column::Data((0..count).map(|_| noise.bytes(9)).collect()),
    };
    let values = if port.columns.is_empty() {
        let Column::Data(contents) = some(ColumnType::Data) else {
            return Rows { timestamps, values: Values::Events(Vec::new()) };
        };
        Values::Events(contents.into_iter().map(|content| Event { content_type: 2, content }).collect())
    } else {
        Values::Columns(port.columns.iter().map(|column| some(column.column_type)).collect())
    };
    Rows { timestamps, values }
}
