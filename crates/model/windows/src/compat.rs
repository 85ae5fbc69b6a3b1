//! Which image runs on which host, and which entry of an index a node takes.
//!
//! From hcsshim's `osversion.CheckHostAndContainerCompat`, containerd's `platforms` (`platform_windows_compat.go`), Docker
//! Engine's `pull_v2_windows.go` and Microsoft's compatibility table.

use crate::catalogue::{Host, build_of, release_of_build};

/// The first release with a stable interface between host and container.
const STABLE: u32 = 20348;

/// How a container is kept apart from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// It shares the host's kernel.
    Process,
    /// It runs in a virtual machine of its own.
    HyperV,
    /// It is a job on the host (`HostProcess`).
    HostProcess,
}

/// Whether an image runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it does.
    pub runs: bool,
    /// Why, for people.
    pub reason: String,
    /// What else is worth knowing.
    pub caution: Option<String>,
}

impl Verdict {
    fn yes(reason: impl Into<String>) -> Self {
        Self { runs: true, reason: reason.into(), caution: None }
    }

    fn no(reason: impl Into<String>) -> Self {
        Self { runs: false, reason: reason.into(), caution: None }
    }
}

/// Whether `host` runs an image of `os_version` (none: the image names no version, as those for `HostProcess`).
pub fn compat(host: &Host, os_version: Option<&str>, isolation: Isolation) -> Verdict {
    let Some(version) = os_version else {
        return match isolation {
            Isolation::HostProcess => Verdict::yes(
                "a HostProcess container runs the host's own Windows: no build has to match",
            ),
            _ => Verdict::no(
                "the image names no os.version: it has no Windows of its own, and runs only in HostProcess containers",
            ),
        };
    };
    let Some(build) = build_of(version) else {
        return Verdict::no(format!(
            "`{version}` is not a version of Windows such as 10.0.20348.2113"
        ));
    };
    let image = release_of_build(build)
        .map_or_else(|| format!("build {build}"), |release| format!("{} ({build})", release.name));
    match isolation {
        Isolation::HostProcess => Verdict {
            caution: Some(
                "its Windows files are not used; a HostProcess base is some kilobytes".to_owned(),
            ),
            ..Verdict::yes(
                "a HostProcess container runs the host's own Windows: no build has to match",
            )
        },
        Isolation::Process => process(host, build, &image),
        Isolation::HyperV => hyperv(host, build, &image),
    }
}

fn process(host: &Host, build: u32, image: &str) -> Verdict {
    let on = format!("{} ({})", host.name, host.build);
    if host.build < STABLE {
        return match host.build == build {
            true if build == 14393 => Verdict {
                caution: Some("on this release the revision must be equal as well".to_owned()),
                ..Verdict::yes(format!("{on} runs images of its own build"))
            },
            true => Verdict::yes(format!("{on} runs images of its own build")),
            false => Verdict::no(format!(
                "before build {STABLE} host and image must have the same build; {on} cannot run {image}"
            )),
        };
    }
    let lowest = lowest_for(host.build, &LONG_TERM);
    if build > host.build {
        Verdict::no(format!("{image} is newer than the host, {on}"))
    } else if build < lowest {
        Verdict::no(format!("{on} runs builds {lowest} to {}; {image} is older", host.build))
    } else {
        let verdict = Verdict::yes(format!(
            "{on} runs builds {lowest} to {} (stable interface since {STABLE})",
            host.build
        ));
        let caution = match (host.build, build) {
            (26200, 26100) => Some(
                "reports say that images of 26100 fail on hosts of 26200 (microsoft/hcsshim#2566)".to_owned(),
            ),
            (26100, 26100) => Some(
                "an image with a newer revision than the host's was seen to fail with 0xc0370106 (microsoft/Windows-Containers#591)"
                    .to_owned(),
            ),
            _ => None,
        };
        Verdict { caution, ..verdict }
    }
}

fn hyperv(host: &Host, build: u32, image: &str) -> Verdict {
    let runs = release_of_build(build).is_some_and(|release| host.hyperv.contains(&release.id));
    if runs {
        Verdict::yes(format!("{} runs {image} in a virtual machine", host.name))
    } else if build > host.build {
        Verdict::no(format!(
            "{image} is newer than the host, {} ({}): a virtual machine takes the same build or older",
            host.name, host.build
        ))
    } else {
        Verdict::no(format!(
            "Microsoft's table does not list {image} for {} under Hyper-V",
            host.name
        ))
    }
}

/// Releases with a long term of support, as containerd's `platforms` 1.0.0-rc.4 and hcsshim know them.
const LONG_TERM: [u32; 2] = [20348, 26100];

/// The oldest build that a host with a stable interface runs.
fn lowest_for(host: u32, long_term: &[u32]) -> u32 {
    long_term.iter().copied().filter(|build| *build < host).max().unwrap_or(STABLE)
}

/// How a node's container runtime chooses an entry of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// containerd to 1.6.17: the same build; an entry without version never matches.
    SameBuild,
    /// containerd 1.6.18 and 1.7.0: the same build, or no version.
    SameBuildOrNone,
    /// containerd 1.6.23, 1.7.6 and later: from 20348 on any build up to the host's.
    Stable2022,
    /// containerd 2.3 and later: from the release before the host's on.
    Stable2025,
    /// Docker Engine with its classic store: entries of the host's build first, then in order; newer than the host refused.
    Docker,
}

impl Rule {
    /// The rule of a containerd release, `1.7.28`.
    pub fn of_containerd(version: &str) -> Option<Self> {
        let mut parts =
            version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse::<u32>);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().and_then(Result::ok).unwrap_or(0);
        Some(match (major, minor, patch) {
            (0, ..) | (1, 0..=5, _) | (1, 6, 0..=17) => Self::SameBuild,
            (1, 6, 18..=22) | (1, 7, 0..=5) => Self::SameBuildOrNone,
            (1, ..) | (2, 0..=2, _) => Self::Stable2022,
            _ => Self::Stable2025,
        })
    }

    fn accepts(self, host: u32, entry: Option<u32>) -> bool {
        match (self, entry) {
            (Self::SameBuild, None) => false,
            (_, None) => true,
            (Self::SameBuild | Self::SameBuildOrNone, Some(build)) => build == host,
            (Self::Stable2022, Some(build)) => stable(host, build, &LONG_TERM[..1]),
            (Self::Stable2025, Some(build)) => stable(host, build, &LONG_TERM),
            (Self::Docker, Some(build)) => build <= host,
        }
    }
}

fn stable(host: u32, build: u32, long_term: &[u32]) -> bool {
    if host < STABLE {
        return host == build;
    }
    (lowest_for(host, long_term)..=host).contains(&build)
}

/// Which of an index's entries for Windows, given by their `os.version` in the index's order, a host of build `host` takes.
pub fn choose(rule: Rule, host: u32, entries: &[Option<&str>]) -> Option<usize> {
    let parsed = entries.iter().map(|entry| entry.and_then(build_of)).enumerate();
    let matching = parsed.filter(|(_, build)| rule.accepts(host, *build));
    if rule == Rule::Docker {
        return matching
            .min_by_key(|(index, build)| (*build != Some(host), *index))
            .map(|(index, _)| index);
    }
    // Windows clients put the higher version, compared as text, first; equal ones stay in order.
    let mut best: Option<usize> = None;
    for (index, _) in matching {
        let text = |at: usize| entries.get(at).copied().flatten().unwrap_or_default();
        if best.is_none_or(|best| text(index) > text(best)) {
            best = Some(index);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{catalogue, host_named};

    /// Microsoft's table of process isolation: host, then what runs of 2025, 2022, 2019, 2016.
    const PROCESS: [(&str, [bool; 4]); 8] = [
        ("ltsc2025", [true, true, false, false]),
        ("ltsc2022", [false, true, false, false]),
        ("ltsc2019", [false, false, true, false]),
        ("ltsc2016", [false, false, false, true]),
        ("win11-24h2", [true, true, false, false]),
        ("win11-22h2", [false, true, false, false]),
        ("win10", [false, false, false, false]),
        ("23h2", [false, true, false, false]),
    ];

    #[test]
    fn the_rule_is_microsofts_table() {
        for (host, expected) in PROCESS {
            let host = host_named(host).expect("a host");
            let versions = ["10.0.26100.1", "10.0.20348.1", "10.0.17763.1", "10.0.14393.1"];
            let runs = versions.map(|version| compat(host, Some(version), Isolation::Process).runs);
            assert_eq!(runs, expected, "{}", host.id);
        }
    }

    #[test]
    fn a_virtual_machine_takes_older_images_only() {
        let host = |name| host_named(name).expect("a host");
        assert!(compat(host("ltsc2022"), Some("10.0.17763.1"), Isolation::HyperV).runs);
        let newer = compat(host("ltsc2022"), Some("10.0.26100.1"), Isolation::HyperV);
        assert!(!newer.runs && newer.reason.contains("newer"), "{newer:?}");
        assert!(compat(host("ltsc2016"), None, Isolation::HostProcess).runs);
        assert!(!compat(host("ltsc2025"), None, Isolation::Process).runs);
        assert!(!compat(host("ltsc2025"), Some("11"), Isolation::Process).runs);
    }

    #[test]
    fn a_release_of_containerd_has_its_rule() {
        let rule = |version| Rule::of_containerd(version);
        assert_eq!(rule("1.6.17"), Some(Rule::SameBuild));
        assert_eq!(rule("1.6.18"), Some(Rule::SameBuildOrNone));
        assert_eq!(rule("1.7.0"), Some(Rule::SameBuildOrNone));
        assert_eq!(rule("1.6.23"), Some(Rule::Stable2022));
        assert_eq!(rule("v1.7.28"), Some(Rule::Stable2022));
        assert_eq!(rule("2.1.0"), Some(Rule::Stable2022));
        assert_eq!(rule("2.3.0-rc.1"), Some(Rule::Stable2025));
        assert_eq!(rule("new"), None);
    }

    /// Index with one entry per long-term release, newest first, as crossdock writes it.
    const INDEX: [Option<&str>; 3] =
        [Some("10.0.26100.2894"), Some("10.0.20348.3091"), Some("10.0.17763.6775")];

    #[test]
    fn every_host_takes_the_right_entry_under_every_rule() {
        use Rule::{Docker, SameBuild, SameBuildOrNone, Stable2022, Stable2025};
        let expect = |rule, answers: [(u32, Option<usize>); 6]| {
            for (host, entry) in answers {
                assert_eq!(choose(rule, host, &INDEX), entry, "{rule:?} on {host}");
            }
        };
        let exact = [
            (17763, Some(2)),
            (20348, Some(1)),
            (25398, None),
            (26100, Some(0)),
            (26200, None),
            (14393, None),
        ];
        expect(SameBuild, exact);
        expect(SameBuildOrNone, exact);
        let stable = [
            (17763, Some(2)),
            (20348, Some(1)),
            (25398, Some(1)),
            (26100, Some(0)),
            (26200, Some(0)),
            (14393, None),
        ];
        expect(Stable2022, stable);
        expect(Stable2025, stable);
        // The classic store tries what is not newer, the own build first, else in order.
        let docker = [
            (17763, Some(2)),
            (20348, Some(1)),
            (25398, Some(1)),
            (26100, Some(0)),
            (26200, Some(0)),
            (14393, None),
        ];
        expect(Docker, docker);
    }

    #[test]
    fn the_newest_runtimes_leave_2022_images_to_hosts_before_2025_h2() {
        let only_2022 = [Some("10.0.20348.3091")];
        assert_eq!(choose(Rule::Stable2022, 26200, &only_2022), Some(0));
        assert_eq!(choose(Rule::Stable2025, 26200, &only_2022), None);
        assert_eq!(choose(Rule::Stable2025, 26100, &only_2022), Some(0));
        let none = [None];
        assert_eq!(choose(Rule::SameBuild, 20348, &none), None);
        assert_eq!(choose(Rule::SameBuildOrNone, 20348, &none), Some(0));
    }

    #[test]
    fn every_host_of_the_catalogue_is_judged() {
        for host in &catalogue().hosts {
            for isolation in [Isolation::Process, Isolation::HyperV, Isolation::HostProcess] {
                assert!(!compat(host, Some("10.0.20348.1"), isolation).reason.is_empty());
            }
        }
    }
}
