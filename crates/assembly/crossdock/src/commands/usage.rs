//! `crossdock du` and `crossdock prune`.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use serde_json::json;
use store::{Kind, PruneOptions, Usage, UsageEntry};

use super::{lines, print, store_failure, table};
use crate::args::{Format, PruneArgs, UsageArgs};
use crate::failure::Failure;
use crate::progress::{clean, seconds, size};
use crate::request::{bytes, duration};
use crate::session::Session;
use crate::settings::now;

const KINDS: [(Kind, &str); 4] = [
    (Kind::Blob, "blobs"),
    (Kind::Tree, "file trees"),
    (Kind::Cache, "cache mounts"),
    (Kind::Record, "records"),
];

/// `crossdock du`.
pub(crate) fn usage(args: &UsageArgs, session: &Session<'_>) -> Result<(), Failure> {
    // Sizes of cache mounts can only be read by who may enter them.
    Session::enter()?;
    let (store, lease) = session.store()?;
    if args.verify {
        let damages = store.verify().map_err(store_failure("check the local store"))?;
        if damages.is_empty() {
            return print(&format!(
                "{}: everything is what it says it is\n",
                store.dir().display()
            ));
        }
        print(&lines(damages.iter().map(|damage| clean(&damage.to_string()))))?;
        return Err(Failure::hint(
            format!(
                "{} found in the local store",
                count(damages.len(), "damage was", "damages were")
            ),
            "damaged blobs are fetched or built again when they are needed; `crossdock prune --all` removes what is not",
        ));
    }
    drop(lease);
    let usage = store.usage().map_err(store_failure("measure the local store"))?;
    match args.format {
        Format::Table => print(&overview(&usage, args.verbose)),
        Format::Json => {
            let entries: Vec<_> = usage.entries.iter().map(|entry| {
                json!({ "kind": kind_name(entry.kind), "id": entry.id, "size": entry.size, "lastUsed": entry.last_used_ms / 1000, "needed": entry.held, "referenced": entry.referenced })
            }).collect();
            print(&format!(
                "{:#}\n",
                json!({ "dir": store.dir(), "size": usage.size(), "entries": entries })
            ))
        }
    }
}

fn overview(usage: &Usage, verbose: bool) -> String {
    let mut out = String::new();
    if verbose {
        let present = i64::try_from(now().as_millis()).unwrap_or(i64::MAX);
        let mut rows = vec![["KIND", "ID", "SIZE", "LAST USED", "NEEDED"].map(str::to_owned)];
        rows.extend(usage.entries.iter().map(|entry| {
            let age = Duration::from_millis(
                u64::try_from(present - entry.last_used_ms).unwrap_or_default(),
            );
            let needed = if entry.held { "yes" } else { "" };
            [
                kind_name(entry.kind).to_owned(),
                clean(&entry.id),
                size(entry.size),
                format!("{} ago", seconds(age)),
                needed.to_owned(),
            ]
        }));
        out.push_str(&table(&rows));
        out.push('\n');
    }
    let mut rows = vec![["KIND", "COUNT", "SIZE", "REMOVABLE"].map(str::to_owned)];
    let sum = |entries: &[&UsageEntry]| size(entries.iter().map(|entry| entry.size).sum());
    for (kind, name) in KINDS {
        let entries: Vec<&UsageEntry> =
            usage.entries.iter().filter(|entry| entry.kind == kind).collect();
        let free: Vec<&UsageEntry> = entries.iter().copied().filter(|entry| !entry.held).collect();
        rows.push([name.to_owned(), entries.len().to_string(), sum(&entries), sum(&free)]);
    }
    let free: Vec<&UsageEntry> = usage.entries.iter().filter(|entry| !entry.held).collect();
    rows.push([
        "total".to_owned(),
        usage.entries.len().to_string(),
        size(usage.size()),
        sum(&free),
    ]);
    out.push_str(&table(&rows));
    out
}

/// `crossdock prune`.
pub(crate) fn prune(args: &PruneArgs, session: &Session<'_>) -> Result<(), Failure> {
    let options = PruneOptions {
        all: args.all,
        older_than: args
            .older_than
            .as_deref()
            .map(|text| duration("--older-than", text))
            .transpose()?,
        keep_bytes: args.keep.as_deref().map(|text| bytes("--keep", text)).transpose()?,
        ..PruneOptions::default()
    };
    if args.all && !args.force && io::stdin().is_terminal() && !confirmed()? {
        return Err(Failure::hint("nothing was removed", "answer `y`, or use --force"));
    }
    // Files in trees belong to the ids of steps, which only their namespace may remove.
    Session::enter()?;
    let store = store::Store::open(&session.settings.store)
        .map_err(store_failure("open the local store"))?;
    let pruned = store.prune(&options).map_err(store_failure("prune the local store"))?;
    print(&format!(
        "removed {}, {}\n",
        count(pruned.entries.len(), "entry", "entries"),
        size(pruned.size)
    ))?;
    if pruned.problems.is_empty() {
        return Ok(());
    }
    let problems = lines(pruned.problems.iter().map(|problem| clean(problem)));
    Err(Failure::hint(
        format!("some could not be removed:\n{problems}"),
        "run it as the user who made them",
    ))
}

fn confirmed() -> Result<bool, Failure> {
    let mut stderr = io::stderr();
    let failed = |error| Failure::because("cannot ask", error);
    write!(
        stderr,
        "Remove everything that no image name needs, also what makes the next builds fast? [y/N] "
    )
    .map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Blob => "blob",
        Kind::Tree => "tree",
        Kind::Cache => "cache",
        Kind::Record => "record",
    }
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
