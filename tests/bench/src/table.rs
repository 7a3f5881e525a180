//! What was measured, as a table.

use std::fmt::Write as _;

/// One comparison, or one figure with an aim of its own.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Ours, with unit.
    pub(crate) ours: String,
    /// Whose, and theirs with unit; or why there is nothing to compare with.
    pub(crate) peer: String,
    /// Lower quartile, median and upper quartile of ours divided by theirs.
    pub(crate) ratio: Option<[f64; 3]>,
    /// The aim in words, and whether it is met.
    pub(crate) aim: String,
    pub(crate) met: Option<bool>,
}

impl Row {
    /// A peer that isn't there, told so that nobody takes it for compared.
    pub(crate) fn skipped(what: &str, why: &str) -> Row {
        eprintln!("bench: SKIPPED: {what}: {why}");
        Row {
            what: what.into(),
            ours: "-".into(),
            peer: format!("skipped: {why}"),
            ratio: None,
            aim: String::new(),
            met: None,
        }
    }

    /// A figure that stands alone.
    pub(crate) fn alone(what: &str, value: f64, unit: &str, at_most: f64) -> Row {
        Row {
            what: what.into(),
            ours: format!("{value:.1} {unit}"),
            peer: String::new(),
            ratio: None,
            aim: format!("at most {at_most} {unit}"),
            met: Some(value <= at_most),
        }
    }
}

/// The table, columns aligned.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines =
        vec![["what", "ours", "peer", "ratio (quartiles)", "aim", "met"].map(String::from)];
    for row in rows {
        let ratio = row
            .ratio
            .map(|[low, middle, high]| format!("{middle:.2} ({low:.2} to {high:.2})"));
        let met = row.met.map(|met| if met { "yes" } else { "NO" });
        lines.push([
            row.what.clone(),
            row.ours.clone(),
            row.peer.clone(),
            ratio.unwrap_or_default(),
            row.aim.clone(),
            met.unwrap_or_default().into(),
        ]);
    }
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|l| l[column].chars().count())
                .max()
                .unwrap_or(0);
            let _ = write!(text, "{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
