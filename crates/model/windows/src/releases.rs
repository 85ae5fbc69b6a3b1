//! Releases of Windows Server and which container runs on which host.
//!
//! From Microsoft's `base-image-lifecycle.md` (2025-07-15) and hcsshim's `osversion`.

/// A release that images exist of, or that hosts run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// `ltsc2022`.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Third part of the version.
    pub build: u32,
    /// Other words in tags.
    pub aliases: &'static [&'static str],
    /// End of mainstream support, `YYYY-MM-DD`; empty when images were never served.
    pub mainstream_end: &'static str,
    /// End of extended support, `YYYY-MM-DD`.
    pub extended_end: &'static str,
    /// Whether Microsoft still serves images of it.
    pub served: bool,
}

/// Newest first.
pub const RELEASES: &[Release] = &[
    release("ltsc2025", "Windows Server 2025", 26100, &[], "2029-10-09", "2034-10-10", true),
    release("23h2", "Windows Server, version 23H2", 25398, &[], "", "2025-10-24", false),
    release("ltsc2022", "Windows Server 2022", 20348, &[], "2026-10-13", "2031-10-14", true),
    release("20h2", "Windows Server, version 20H2", 19042, &[], "", "2022-08-09", false),
    release("2004", "Windows Server, version 2004", 19041, &[], "", "2021-12-14", false),
    release("1909", "Windows Server, version 1909", 18363, &[], "", "2021-05-11", false),
    release("1903", "Windows Server, version 1903", 18362, &[], "", "2020-12-08", false),
    release("ltsc2019", "Windows Server 2019", 17763, &["1809"], "2024-01-09", "2029-01-09", true),
    release("1803", "Windows Server, version 1803", 17134, &[], "", "2019-11-12", false),
    release("1709", "Windows Server, version 1709", 16299, &[], "", "2019-04-09", false),
    release("ltsc2016", "Windows Server 2016", 14393, &[], "2022-01-11", "2027-01-11", true),
];

const fn release(
    id: &'static str,
    name: &'static str,
    build: u32,
    aliases: &'static [&'static str],
    mainstream_end: &'static str,
    extended_end: &'static str,
    served: bool,
) -> Release {
    Release { id, name, build, aliases, mainstream_end, extended_end, served }
}

/// The build number of `10.0.20348.2113` or `10.0.20348`.
pub fn build_of(os_version: &str) -> Option<u32> {
    let mut parts = os_version.split('.');
    match (parts.next()?, parts.next()?, parts.next()?) {
        ("10", "0", build) => build.parse().ok(),
        _ => None,
    }
}

/// The release with this build number.
pub fn release_of_build(build: u32) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.build == build)
}

/// The release that a tag names: `ltsc2022`, `4.8-windowsservercore-ltsc2019`, `1809-KB4493509`, `10.0.17763.437`.
pub fn release_of_tag(tag: &str) -> Option<&'static Release> {
    if let Some(release) = build_of(tag).and_then(release_of_build) {
        return Some(release);
    }
    let tag = tag.to_ascii_lowercase();
    let mut words = tag.split(['-', '_']);
    words.find_map(|word| {
        RELEASES.iter().find(|release| release.id == word || release.aliases.contains(&word))
    })
}

/// What a Microsoft base image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Repository beneath `mcr.microsoft.com/`.
    pub name: &'static str,
    /// The user that containers run as.
    pub user: &'static str,
    /// Whether Windows PowerShell is there.
    pub powershell: bool,
    /// Whether .NET Framework is there.
    pub net_framework: bool,
}

const BASES: &[Base] = &[
    Base {
        name: "windows/nanoserver",
        user: "ContainerUser",
        powershell: false,
        net_framework: false,
    },
    Base {
        name: "windows/servercore/iis",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base {
        name: "windows/servercore",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base {
        name: "windows/server",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base { name: "windows", user: "ContainerAdministrator", powershell: true, net_framework: true },
    Base {
        name: "dotnet/framework/runtime",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base {
        name: "dotnet/framework/aspnet",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base {
        name: "dotnet/framework/sdk",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
    Base {
        name: "dotnet/framework/wcf",
        user: "ContainerAdministrator",
        powershell: true,
        net_framework: true,
    },
];

/// What is known of `mcr.microsoft.com/<repository>`.
pub fn base_of(repository: &str) -> Option<&'static Base> {
    BASES.iter().find(|base| base.name == repository)
}

/// Which hosts run an image with process isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Only hosts of the same build.
    Same(u32),
    /// Hosts of this build and later (stable ABI since 20348).
    From(u32),
}

/// The rule of hcsshim's `osversion.CheckHostAndContainerCompat`.
pub fn hosts_for(image_build: u32) -> Hosts {
    if image_build >= 20348 { Hosts::From(image_build) } else { Hosts::Same(image_build) }
}

impl Hosts {
    /// Whether a host of this build runs the image without a virtual machine.
    pub fn include(self, host_build: u32) -> bool {
        match self {
            Self::Same(build) => host_build == build,
            // A 2022 image runs on 23H2 and 2025; 2025 images need 2025.
            Self::From(build) => host_build >= build,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_versions_name_releases() {
        let build = |tag| release_of_tag(tag).map(|release| release.build);
        assert_eq!(build("ltsc2022"), Some(20348));
        assert_eq!(build("1809-KB4493509"), Some(17763));
        assert_eq!(build("4.8.1-20260714-windowsservercore-ltsc2022"), Some(20348));
        assert_eq!(build("10.0.17763.437"), Some(17763));
        assert_eq!(build("latest"), None);
        assert_eq!(build_of("10.0.x"), None);
        assert!(hosts_for(20348).include(26100));
        assert!(!hosts_for(17763).include(20348));
        assert!(base_of("windows/nanoserver").is_some_and(|base| !base.powershell));
    }
}
