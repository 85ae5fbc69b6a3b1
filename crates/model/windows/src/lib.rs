//! What is known of Windows: names and paths, file attributes, security descriptors, releases and which host runs
//! which image.
//!
//! Rules and constants only, from Microsoft's documentation and the sources of hcsshim and go-winio. This crate reads
//! no files and knows neither tar nor images.
#![warn(missing_docs)]

mod accounts;
mod advise;
mod catalogue;
mod compat;
mod names;
mod path;
mod sddl;
mod security;

pub use accounts::{account, owned_by};
pub use advise::{Advice, NEEDS, Offer, Question, advise, offers};
pub use catalogue::{
    BaseImage, Catalogue, Host, REGISTRY, Release, Source, Support, base_of, build_of, catalogue,
    host_named, release_named, release_of_build, release_of_tag,
};
pub use compat::{Isolation, Rule, Verdict, choose, compat};
pub use names::{
    MAX_COMPONENT_UNITS, MAX_PATH_UNITS, NameError, check_component, check_path, compare, fold,
    is_device_name,
};
pub use path::{
    PathError, image_path, link_target_from_windows, link_target_to_windows, stored_path,
};
pub use sddl::{SddlError, SecurityDescriptor, Sid, sddl_from_bytes, sddl_to_bytes};
pub use security::{
    SD_ADMIN, SD_DIR, SD_FILE, SD_USER, SdError, base64, check_security_descriptor, from_base64,
};

/// Win32 file attributes, as in `MSWINDOWS.fileattr` (decimal).
pub mod attributes {
    /// Cannot be written.
    pub const READONLY: u32 = 0x1;
    /// Not listed by default.
    pub const HIDDEN: u32 = 0x2;
    /// Belongs to the system.
    pub const SYSTEM: u32 = 0x4;
    /// A directory, or a link that stands for one.
    pub const DIRECTORY: u32 = 0x10;
    /// An ordinary file (to be archived).
    pub const ARCHIVE: u32 = 0x20;
    /// Nothing else is set.
    pub const NORMAL: u32 = 0x80;
    /// May be deleted when it is closed.
    pub const TEMPORARY: u32 = 0x100;
    /// Its content lies elsewhere.
    pub const OFFLINE: u32 = 0x1000;
    /// Searches do not look into it.
    pub const NOT_CONTENT_INDEXED: u32 = 0x2000;
    /// Those that say what a file is for. The rest say how a volume stores it, and do not travel with a copy.
    pub const KEPT: u32 =
        READONLY | HIDDEN | SYSTEM | ARCHIVE | NORMAL | TEMPORARY | OFFLINE | NOT_CONTENT_INDEXED;
    /// A link or junction.
    pub const REPARSE_POINT: u32 = 0x400;
    /// Symbolic link to a file.
    pub const FILE_LINK: u32 = REPARSE_POINT | ARCHIVE;
    /// Symbolic link to a directory, or a junction.
    pub const DIRECTORY_LINK: u32 = REPARSE_POINT | DIRECTORY;
}

/// PAX records of Windows layers (image-spec 1.1, `layer.md`; go-winio `backuptar`).
pub mod records {
    /// File attributes, decimal.
    pub const ATTRIBUTES: &str = "MSWINDOWS.fileattr";
    /// Self-relative security descriptor, base64.
    pub const SECURITY: &str = "MSWINDOWS.rawsd";
    /// Security descriptor as SDDL text; only old layers have it.
    pub const SDDL: &str = "MSWINDOWS.sd";
    /// Present: the link is a junction.
    pub const MOUNT_POINT: &str = "MSWINDOWS.mountpoint";
    /// Time of creation, as PAX writes times.
    pub const CREATED: &str = "LIBARCHIVE.creationtime";
}

/// Where a layer keeps things.
pub mod layout {
    /// The C: volume.
    pub const FILES: &str = "Files";
    /// Changes to the registry.
    pub const HIVES: &str = "Hives";
    /// The utility VM of Hyper-V isolation.
    pub const UTILITY_VM: &str = "UtilityVM";
    /// What a base layer must have beneath `Files`; each begins with `regf`.
    pub const BASE_HIVES: [&str; 5] = [
        "Windows/System32/config/DEFAULT",
        "Windows/System32/config/SAM",
        "Windows/System32/config/SECURITY",
        "Windows/System32/config/SOFTWARE",
        "Windows/System32/config/SYSTEM",
    ];
}

/// Names at the top of C: that Windows itself has or makes, in any letters' case. Microsoft's base layers hold nothing
/// else there.
const OWN_NAMES: [&str; 24] = [
    "Boot",
    "bootmgr",
    "BOOTNXT",
    "bootTel.dat",
    "Config.Msi",
    "Documents and Settings",
    "DumpStack.log",
    "EFI",
    "hiberfil.sys",
    "inetpub",
    "License.txt",
    "MSOCache",
    "pagefile.sys",
    "PerfLogs",
    "Program Files",
    "Program Files (Arm)",
    "Program Files (x86)",
    "ProgramData",
    "Recovery",
    "swapfile.sys",
    "System Volume Information",
    "Users",
    "Windows",
    "WcSandboxState",
];

/// Whether a name at the top of C: is one that Windows itself may have there: its folders, files of the boot loader,
/// short names (`PROGRA~1`), and all that begin with `$`.
pub fn is_own_name(name: &[u8]) -> bool {
    let folded = fold(name);
    name.starts_with(b"$")
        || name.contains(&b'~')
        || OWN_NAMES.iter().any(|own| fold(own.as_bytes()) == folded)
}

/// NTFS takes this many names of one file, the first included.
pub const MAX_LINKS: usize = 1024;
