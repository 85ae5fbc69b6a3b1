//! What is said at the end of a build.

use std::fmt::Write;

use build_api::Outcome;

use super::text::{clean, columns, pad, seconds, size};
use super::tty::Paint;

/// Digest, size and time of each platform, and where the results went.
pub(crate) fn summary(outcome: &Outcome, color: bool) -> String {
    let paint = Paint { color };
    let ran: usize = outcome.platforms.iter().map(|platform| platform.ran).sum();
    let cached: usize = outcome.platforms.iter().map(|platform| platform.cached).sum();
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} built in {}: {}, {cached} cached",
        paint.green("✔"),
        seconds(outcome.took),
        count(ran, "step run", "steps run")
    );
    let mut table = vec![["PLATFORM", "DIGEST", "SIZE", "TIME", "STEPS"].map(str::to_owned)];
    for platform in &outcome.platforms {
        let digest = platform
            .manifest
            .as_ref()
            .map_or_else(|| "-".to_owned(), |manifest| manifest.digest.short().to_owned());
        table.push([
            platform.platform.to_string(),
            digest,
            size(platform.size),
            seconds(platform.took),
            format!("{} run, {} cached", platform.ran, platform.cached),
        ]);
    }
    out.push_str(&columns_of(&table, paint));
    if let Some(image) = &outcome.image {
        let kind = if outcome.platforms.len() > 1 { "index" } else { "image" };
        let _ = writeln!(out, "  {kind} {}", paint.bold(image.digest.as_str()));
    }
    for line in &outcome.written {
        let _ = writeln!(out, "  → {}", clean(line));
    }
    out
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// A table with a dim heading; every column as wide as its widest cell.
fn columns_of(rows: &[[String; 5]], paint: Paint) -> String {
    let mut out = String::new();
    let width =
        |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&pad(cell, width));
            line.push_str("  ");
        }
        line.push_str(&row[4]);
        out.push_str(&if index == 0 { paint.dim(&line) } else { line });
        out.push('\n');
    }
    out
}
