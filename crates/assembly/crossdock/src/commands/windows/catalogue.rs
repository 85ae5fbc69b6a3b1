//! `crossdock windows bases` and `compat`: what the catalogue knows.

use serde_json::{Value, json};
use windows::{Host, Isolation, NEEDS, Offer, Question, Rule, Verdict};

use super::super::{day, print, table};
use crate::args::{BasesArgs, CompatArgs, Format, IsolationKind};
use crate::failure::Failure;
use crate::progress::size;
use crate::request::{UsageError, reference};
use crate::session::Session;

fn isolation(kind: IsolationKind) -> Isolation {
    match kind {
        IsolationKind::Process => Isolation::Process,
        IsolationKind::Hyperv => Isolation::HyperV,
        IsolationKind::Hostprocess => Isolation::HostProcess,
    }
}

fn word(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Process => "process",
        Isolation::HyperV => "hyperv",
        Isolation::HostProcess => "hostprocess",
    }
}

/// The hosts that were named.
pub(crate) fn hosts(flag: &str, names: &[String]) -> Result<Vec<&'static Host>, UsageError> {
    let host = |name: &String| {
        windows::host_named(name).ok_or_else(|| {
            let known: Vec<&str> =
                windows::catalogue().hosts.iter().map(|host| host.id.as_str()).collect();
            UsageError::new(
                format!("{flag}: `{name}` is no release of Windows"),
                format!("it is one of {}, or a build such as 10.0.20348", known.join(", ")),
            )
        })
    };
    names.iter().map(host).collect()
}

/// `crossdock windows bases`.
pub(crate) fn bases(args: &BasesArgs, _: &Session<'_>) -> Result<(), Failure> {
    if args.needs.iter().any(|need| need == "help") {
        let rows: Vec<[String; 2]> = NEEDS
            .iter()
            .map(|(need, meaning)| [(*need).to_owned(), (*meaning).to_owned()])
            .collect();
        return print(&table(&rows));
    }
    for need in &args.needs {
        if !NEEDS.iter().any(|(known, _)| known == need) {
            let guess = report::did_you_mean(need, NEEDS.iter().map(|(known, _)| *known));
            let hint = guess.map_or_else(
                || "`--needs help` lists the words".to_owned(),
                |guess| format!("did you mean {guess}? `--needs help` lists the words"),
            );
            return Err(UsageError::new(format!("--needs: `{need}` is not known"), hint).into());
        }
    }
    let today = day(args.date.as_deref())?;
    let hosts = hosts("--host", &args.host)?;
    let question = Question {
        hosts: &hosts,
        isolation: isolation(args.isolation),
        needs: &args.needs,
        today: &today,
    };
    let offers = windows::offers(&question);
    let advice = windows::advise(&question);
    let shown: Vec<&Offer> = offers.iter().filter(|offer| args.all || offer.fits()).collect();
    if args.format == Format::Json {
        let list: Vec<Value> = shown.iter().map(|offer| described(offer)).collect();
        let take: Vec<String> = advice.take.iter().map(Offer::reference).collect();
        let document = json!({
            "asOf": windows::catalogue().as_of,
            "bases": list,
            "recommended": { "images": take, "reasons": advice.reasons },
            "sources": windows::catalogue().source.iter().map(|(key, source)| json!({ "key": key, "title": source.title, "place": source.place, "date": source.date })).collect::<Vec<_>>(),
        });
        return print(&format!("{document:#}\n"));
    }
    let mut rows = vec![["IMAGE", "BUILD", "SIZE", "SUPPORT", "HAS"].map(str::to_owned)];
    for offer in &shown {
        let build = offer
            .release
            .map_or_else(|| "any host".to_owned(), |release| release.build.to_string());
        let support = match (offer.support, offer.release) {
            (Some(support), Some(release)) => {
                let end = match support {
                    windows::Support::Mainstream | windows::Support::MainstreamEnding => {
                        release.mainstream_end.as_deref()
                    }
                    _ => None,
                };
                format!("{} to {}", support.text(), end.unwrap_or(&release.extended_end))
            }
            _ => "-".to_owned(),
        };
        let has = match offer.fits() {
            true if offer.refused.is_empty() => offer.image.has.join(" "),
            true => {
                let ids: Vec<&str> = offer.runs_on.iter().map(|host| host.id.as_str()).collect();
                format!("{} (on {} only)", offer.image.has.join(" "), ids.join(", "))
            }
            false => against(offer),
        };
        rows.push([
            offer.reference(),
            build,
            offer.bytes.map_or_else(|| "?".to_owned(), size),
            support,
            has,
        ]);
    }
    let mut text = table(&rows);
    text.push('\n');
    if advice.take.is_empty() {
        text += "no base image fits; --all lists them with the reasons\n";
    } else {
        for offer in &advice.take {
            text.extend(["take  ", &offer.reference(), "\n"]);
        }
        for reason in &advice.reasons {
            text.extend(["      ", reason, "\n"]);
        }
    }
    text.extend(["\nas of ", &windows::catalogue().as_of, "; --format json names the sources\n"]);
    print(&text)
}

/// Why it does not fit.
fn against(offer: &Offer) -> String {
    let mut reasons = Vec::new();
    if !offer.lacks.is_empty() {
        reasons.push(format!("lacks {}", offer.lacks.join(", ")));
    }
    reasons.extend(offer.refused.iter().map(|(_, verdict)| verdict.reason.clone()));
    reasons.join("; ")
}

fn described(offer: &Offer) -> Value {
    let release = offer.release;
    json!({
        "image": offer.reference(),
        "summary": offer.image.summary,
        "release": release.map(|release| &release.id),
        "build": release.map(|release| release.build),
        "bytes": offer.bytes,
        "has": offer.image.has,
        "user": offer.image.user,
        "support": offer.support.map(windows::Support::text),
        "mainstreamEnd": release.and_then(|release| release.mainstream_end.as_ref()),
        "extendedEnd": release.map(|release| &release.extended_end),
        "fits": offer.fits(),
        "lacks": offer.lacks,
        "refused": offer.refused.iter().map(|(host, verdict)| json!({ "host": host.id, "reason": verdict.reason })).collect::<Vec<_>>(),
        "source": offer.image.source,
        "bytesSource": offer.image.bytes_source,
    })
}

/// One image of what was asked about.
struct Candidate {
    os_version: Option<String>,
}

/// `crossdock windows compat`.
pub(crate) fn compat(args: &CompatArgs, session: &Session<'_>) -> Result<(), Failure> {
    let rule = runtime(&args.runtime)?;
    let hosts = if args.host.is_empty() {
        windows::catalogue().hosts.iter().collect()
    } else {
        hosts("--host", &args.host)?
    };
    let isolations = match args.isolation {
        Some(kind) => vec![isolation(kind)],
        None => vec![Isolation::Process, Isolation::HyperV, Isolation::HostProcess],
    };
    let candidates = candidates(&args.image, session)?;
    let mut rows = vec![["HOST", "ISOLATION", "RUNS", "IMAGE", "REASON"].map(str::to_owned)];
    let mut list = Vec::new();
    for host in hosts {
        for isolation in &isolations {
            let (entry, verdict) = judge(&candidates, host, *isolation, rule);
            let version = entry.and_then(|entry| entry.os_version.clone());
            let reason = match &verdict.caution {
                Some(caution) => format!("{}; mind: {caution}", verdict.reason),
                None => verdict.reason.clone(),
            };
            list.push(json!({ "host": host.id, "build": host.build, "isolation": word(*isolation), "runs": verdict.runs, "osVersion": version, "reason": verdict.reason, "caution": verdict.caution }));
            let runs = if verdict.runs { "yes" } else { "no" };
            let image = match (entry, version) {
                (None, _) => "-".to_owned(),
                (Some(_), None) => "no version".to_owned(),
                (Some(_), Some(version)) => version,
            };
            rows.push([
                host.id.clone(),
                word(*isolation).to_owned(),
                runs.to_owned(),
                image,
                reason,
            ]);
        }
    }
    match args.format {
        Format::Json => print(&format!("{:#}\n", json!({ "image": args.image, "verdicts": list }))),
        Format::Table => print(&table(&rows)),
    }
}

fn runtime(text: &str) -> Result<Rule, UsageError> {
    let rule = match text
        .strip_prefix("containerd")
        .map(|rest| rest.trim_start_matches(['-', '@', ' ', '/']))
    {
        Some(version) => Rule::of_containerd(version),
        None if text == "docker" => Some(Rule::Docker),
        None => None,
    };
    rule.ok_or_else(|| {
        UsageError::new(
            format!("--runtime: `{text}` is not known"),
            "write `docker`, or containerd with its release: `containerd-1.7.28`",
        )
    })
}

/// A version alone, or the Windows images of a name.
fn candidates(image: &str, session: &Session<'_>) -> Result<Vec<Candidate>, Failure> {
    let version = match windows::release_named(image) {
        Some(release) => Some(format!("10.0.{}", release.build)),
        None => windows::build_of(image).map(|_| image.to_owned()),
    };
    if version.is_some() {
        return Ok(vec![Candidate { os_version: version }]);
    }
    let name = reference("image", image)?;
    let described = session.engine()?.describe(&name)?;
    let windows = described.images.iter().filter(|image| image.platform.is_windows());
    let found: Vec<Candidate> = windows
        .map(|image| Candidate {
            os_version: Some(image.platform.os_version.clone())
                .filter(|version| !version.is_empty()),
        })
        .collect();
    if found.is_empty() {
        let has: Vec<String> =
            described.images.iter().map(|image| image.platform.to_string()).collect();
        return Err(Failure::hint(
            format!("{} has no image for Windows", name.familiar()),
            format!("it has {}", has.join(", ")),
        ));
    }
    Ok(found)
}

/// The entry that a host takes, and whether it runs.
fn judge<'c>(
    candidates: &'c [Candidate],
    host: &Host,
    isolation: Isolation,
    rule: Rule,
) -> (Option<&'c Candidate>, Verdict) {
    let verdict_of = |one: &Candidate| windows::compat(host, one.os_version.as_deref(), isolation);
    if let [only] = candidates {
        return (Some(only), verdict_of(only));
    }
    if isolation != Isolation::Process {
        // A node chooses for process isolation; with a virtual machine or none the user names what runs.
        let best = candidates.iter().find(|one| verdict_of(one).runs);
        return match best.or(candidates.first()) {
            Some(one) => (best, verdict_of(one)),
            None => (None, nothing(host)),
        };
    }
    let versions: Vec<Option<&str>> =
        candidates.iter().map(|one| one.os_version.as_deref()).collect();
    match windows::choose(rule, host.build, &versions).and_then(|index| candidates.get(index)) {
        Some(one) => (Some(one), verdict_of(one)),
        None => (None, nothing(host)),
    }
}

fn nothing(host: &Host) -> Verdict {
    Verdict {
        runs: false,
        reason: format!("no image of the index matches {} ({})", host.name, host.build),
        caution: None,
    }
}
