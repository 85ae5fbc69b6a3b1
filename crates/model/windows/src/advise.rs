//! Which base image to take.

use crate::catalogue::{BaseImage, Host, REGISTRY, Release, Support, catalogue};
use crate::compat::{Isolation, Verdict, compat};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Hosts it must run on; none: any.
    pub hosts: &'a [&'static Host],
    /// How it runs there.
    pub isolation: Isolation,
    /// What the program needs, words of [`needs`].
    pub needs: &'a [String],
    /// The day, `YYYY-MM-DD`.
    pub today: &'a str,
}

/// A base image in one release.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The image.
    pub image: &'static BaseImage,
    /// Its release; none for images that fit any host.
    pub release: Option<&'static Release>,
    /// Its tag.
    pub tag: &'static str,
    /// Compressed bytes, where known.
    pub bytes: Option<u64>,
    /// Support on the day; none for images without a Windows of their own.
    pub support: Option<Support>,
    /// What it lacks of what is needed.
    pub lacks: Vec<String>,
    /// Hosts that run it.
    pub runs_on: Vec<&'static Host>,
    /// Verdicts of the hosts that do not run it.
    pub refused: Vec<(&'static Host, Verdict)>,
}

impl Offer {
    /// Name with registry and tag.
    pub fn reference(&self) -> String {
        format!("{REGISTRY}/{}:{}", self.image.name, self.tag)
    }

    /// Whether it has all that is needed and one of the hosts runs it.
    pub fn fits(&self) -> bool {
        self.lacks.is_empty() && (self.refused.is_empty() || !self.runs_on.is_empty())
    }
}

/// What to take, and why.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// One image, or one for each build of the hosts.
    pub take: Vec<Offer>,
    /// Reasons, for people.
    pub reasons: Vec<String>,
}

/// Words for what programs need, each with what it means.
pub const NEEDS: &[(&str, &str)] = &[
    ("net", "programs of .NET (Core) and other 64-bit programs"),
    ("net48", ".NET Framework 4.8"),
    ("pwsh", "PowerShell 7"),
    ("powershell", "Windows PowerShell 5.1"),
    ("wmi", "Windows Management Instrumentation"),
    ("msi", "installers of Windows"),
    ("wow64", "32-bit programs"),
    ("iis", "the web server IIS"),
    ("aspnet", "ASP.NET of .NET Framework"),
    ("wcf", "Windows Communication Foundation"),
    ("msbuild", "compilers for .NET Framework"),
    ("gdi", "graphics and printing"),
    ("directx", "DirectX"),
    ("hostprocess", "to run on the host itself (HostProcess)"),
];

/// All base images in all releases, with what speaks against each.
pub fn offers(question: &Question<'_>) -> Vec<Offer> {
    let mut offers = Vec::new();
    for image in &catalogue().images {
        for (id, tag) in &image.tags {
            let release = catalogue().releases.iter().find(|release| release.id == *id);
            let version = release.map(|release| format!("10.0.{}", release.build));
            let mut lacks: Vec<String> =
                question.needs.iter().filter(|need| !image.has.contains(need)).cloned().collect();
            match (wants_host_process(question), image.any_host) {
                (true, false) if lacks.is_empty() => lacks.push("hostprocess".to_owned()),
                (false, true) => lacks.push("a Windows of its own".to_owned()),
                _ => {}
            }
            let mut runs_on = Vec::new();
            let mut refused = Vec::new();
            for host in question.hosts {
                let verdict = compat(host, version.as_deref(), question.isolation);
                if verdict.runs { runs_on.push(*host) } else { refused.push((*host, verdict)) }
            }
            offers.push(Offer {
                image,
                release,
                tag,
                bytes: image.bytes.get(id).copied(),
                support: release.map(|release| release.support(question.today)),
                lacks,
                runs_on,
                refused,
            });
        }
    }
    // The catalogue's order, and newest first in it.
    offers.sort_by_key(|offer| {
        let place = catalogue().images.iter().position(|image| image.name == offer.image.name);
        (place, std::cmp::Reverse(offer.release.map(|release| release.build)))
    });
    offers
}

fn wants_host_process(question: &Question<'_>) -> bool {
    question.isolation == Isolation::HostProcess
        || question.needs.iter().any(|need| need == "hostprocess")
}

/// The smallest base image that has what is needed, in the release (or releases) that the hosts run.
pub fn advise(question: &Question<'_>) -> Advice {
    let host_process = wants_host_process(question);
    let usable = |offer: &Offer| {
        offer.lacks.is_empty()
            && offer.support != Some(Support::Ended)
            && offer.release.is_none_or(|release| release.served)
    };
    let offers: Vec<Offer> = offers(question).into_iter().filter(usable).collect();
    let mut advice = Advice::default();
    if host_process {
        advice.take = offers.into_iter().take(1).collect();
        if !advice.take.is_empty() {
            advice.reasons.push(
                "HostProcess containers run the host's own Windows, so one image of some kilobytes serves every release".to_owned(),
            );
        }
        return advice;
    }
    // The catalogue lists images from small to large: the first whose releases cover all hosts.
    let mut names: Vec<&str> = offers.iter().map(|offer| offer.image.name.as_str()).collect();
    names.dedup();
    for name in names {
        let of_image: Vec<&Offer> =
            offers.iter().filter(|offer| offer.image.name == name).collect();
        if let Some(take) = cover(&of_image, question.hosts) {
            explain(&mut advice, &take, question);
            advice.take = take.into_iter().cloned().collect();
            return advice;
        }
    }
    advice
}

/// The fewest offers that together run on all hosts: one if possible, of the oldest build, which most hosts run.
fn cover<'o>(offers: &[&'o Offer], hosts: &[&'static Host]) -> Option<Vec<&'o Offer>> {
    if hosts.is_empty() {
        // Without hosts the release with the longest support.
        return offers
            .iter()
            .find(|offer| offer.support == Some(Support::Mainstream))
            .or(offers.first())
            .map(|offer| vec![*offer]);
    }
    let all: Vec<&&Offer> = offers.iter().filter(|offer| offer.refused.is_empty()).collect();
    if let Some(one) =
        all.iter().find(|offer| offer.support == Some(Support::Mainstream)).or(all.first())
    {
        return Some(vec![**one]);
    }
    let mut take: Vec<&Offer> = Vec::new();
    for host in hosts {
        let runs = |offer: &&&'o Offer| !offer.refused.iter().any(|(other, _)| other.id == host.id);
        let one = *offers.iter().find(runs)?;
        if !take.iter().any(|taken| taken.tag == one.tag) {
            take.push(one);
        }
    }
    take.sort_by_key(|offer| std::cmp::Reverse(offer.release.map(|release| release.build)));
    Some(take)
}

fn explain(advice: &mut Advice, take: &[&Offer], question: &Question<'_>) {
    let Some(first) = take.first() else { return };
    let reasons = &mut advice.reasons;
    reasons.push(match question.needs {
        [] => format!("{} is {}", first.image.name, first.image.summary),
        needs => format!("{} is the smallest that has {}", first.image.name, needs.join(", ")),
    });
    match (take, question.hosts) {
        (_, []) => {}
        ([one], [host]) => {
            let version = one.release.map(|release| format!("10.0.{}", release.build));
            reasons.push(compat(host, version.as_deref(), question.isolation).reason);
        }
        ([one], hosts) => {
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            let build = one.release.map_or(0, |release| release.build);
            reasons.push(format!("build {build} runs on all of {}", names.join(", ")));
        }
        (several, _) => {
            let ids: Vec<&str> = several
                .iter()
                .filter_map(|offer| offer.release)
                .map(|release| release.id.as_str())
                .collect();
            reasons.push(format!(
                "no one build runs on all these hosts: make an image for each, in one index (`crossdock build --windows-versions {}`)",
                ids.join(",")
            ));
        }
    }
    for release in take.iter().filter_map(|offer| offer.release) {
        let support = release.support(question.today);
        let end = match support {
            Support::MainstreamEnding => release.mainstream_end.as_deref(),
            Support::Extended | Support::ExtendedEnding => Some(release.extended_end.as_str()),
            Support::Mainstream | Support::Ended => None,
        };
        if let Some(end) = end {
            reasons.push(format!(
                "mind: support of {} is {}, until {end}",
                release.name,
                support.text()
            ));
        }
    }
    reasons.push("tags move every month: pin by digest for builds that can be repeated".to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::host_named;

    fn take(hosts: &[&str], isolation: Isolation, needs: &[&str]) -> Vec<String> {
        let hosts: Vec<&'static Host> =
            hosts.iter().map(|name| host_named(name).expect("a host")).collect();
        let needs: Vec<String> = needs.iter().map(|need| (*need).to_owned()).collect();
        let question = Question { hosts: &hosts, isolation, needs: &needs, today: "2026-11-21" };
        let advice = advise(&question);
        assert_eq!(advice.take.is_empty(), advice.reasons.is_empty());
        advice.take.iter().map(Offer::reference).collect()
    }

    #[test]
    fn the_smallest_that_has_what_is_needed_and_runs() {
        use Isolation::{HostProcess, HyperV, Process};
        let mcr = |name: &str| format!("mcr.microsoft.com/{name}");
        assert_eq!(take(&[], Process, &[]), [mcr("windows/nanoserver:ltsc2025")]);
        assert_eq!(take(&["ltsc2022"], Process, &[]), [mcr("windows/nanoserver:ltsc2022")]);
        assert_eq!(
            take(&["ltsc2022", "ltsc2025"], Process, &[]),
            [mcr("windows/nanoserver:ltsc2022")]
        );
        assert_eq!(
            take(&["ltsc2019", "ltsc2022"], Process, &["wmi"]),
            [mcr("windows/servercore:ltsc2022"), mcr("windows/servercore:ltsc2019")]
        );
        assert_eq!(
            take(&["ltsc2022"], HyperV, &["iis"]),
            [mcr("windows/servercore/iis:windowsservercore-ltsc2022")]
        );
        assert_eq!(take(&["ltsc2019"], Process, &["directx"]), Vec::<String>::new());
        let base = mcr("oss/kubernetes/windows-host-process-containers-base-image:v1.0.0");
        assert_eq!(take(&["ltsc2019"], HostProcess, &[]), [base]);
    }

    #[test]
    fn every_word_of_the_catalogue_is_explained() {
        for image in &catalogue().images {
            for word in &image.has {
                assert!(NEEDS.iter().any(|(need, _)| need == word), "{word}");
            }
        }
    }
}
