//! What holds for any bytes, one function for each parser of foreign bytes. They panic where it does not hold: a fuzzer
//! calls them with what it invents, the test of this package with the seeds.

mod dockerfiles;
#[cfg(feature = "all")]
mod files;
#[cfg(feature = "all")]
mod models;
#[cfg(feature = "windows-formats")]
mod windows_formats;

/// A property by the name of its fuzz target and its directory of seeds.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const PROPERTIES: &[Property] = &[
    ("dockerfile", dockerfiles::dockerfile),
    ("expander", dockerfiles::expander),
    ("mount", dockerfiles::mount),
    ("trigger", dockerfiles::trigger),
    #[cfg(feature = "all")]
    ("dockerignore", files::dockerignore),
    #[cfg(feature = "all")]
    ("glob", files::glob),
    #[cfg(feature = "all")]
    ("path", files::path),
    #[cfg(feature = "all")]
    ("tar", files::tar),
    #[cfg(feature = "all")]
    ("unpack", files::unpack),
    #[cfg(feature = "all")]
    ("challenge", models::challenge),
    #[cfg(feature = "all")]
    ("definition", models::definition),
    #[cfg(feature = "all")]
    ("docker_config", models::docker_config),
    #[cfg(feature = "all")]
    ("document", models::document),
    #[cfg(feature = "all")]
    ("git", models::git),
    #[cfg(feature = "all")]
    ("platform", models::platform),
    #[cfg(feature = "all")]
    ("reference", models::reference),
    #[cfg(feature = "windows-formats")]
    ("pe", windows_formats::pe),
    #[cfg(feature = "windows-formats")]
    ("regf", windows_formats::regf),
    #[cfg(feature = "windows-formats")]
    ("sddl", windows_formats::sddl),
    #[cfg(feature = "windows-formats")]
    ("security_descriptor", windows_formats::security_descriptor),
    #[cfg(feature = "windows-formats")]
    ("windows_headers", windows_formats::windows_headers),
    #[cfg(feature = "windows-formats")]
    ("windows_kept", windows_formats::windows_kept),
    #[cfg(feature = "windows-formats")]
    ("windows_layer", windows_formats::windows_layer),
    #[cfg(feature = "windows-formats")]
    ("windows_writer", windows_formats::windows_writer),
];

/// Checks the property of that name.
///
/// # Panics
/// When it does not hold, or there is none of that name.
pub fn check(name: &str, data: &[u8]) {
    let (_, property) = PROPERTIES.iter().find(|(known, _)| *known == name).expect("a name");
    property(data);
}
