//! What the processor runs by itself, and what kind of program an emulator is.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use oci::Platform;
use rustix::fs::MemfdFlags;

use crate::How;

/// Whether the processor runs `platform`; `None` when only an emulator could.
pub(crate) fn native(host: &Platform, platform: &Platform) -> Option<How> {
    if host.architecture == platform.architecture {
        return Some(match missing_feature(platform) {
            None => How::Native,
            Some(reason) => {
                How::Missing { reason, hint: "use a machine with a newer processor".to_owned() }
            }
        });
    }
    let runs = match (host.architecture.as_str(), platform.architecture.as_str()) {
        ("amd64", "386") => {
            static RUNS: OnceLock<bool> = OnceLock::new();
            *RUNS.get_or_init(|| runs(&tiny_program(3, &X86_EXIT)))
        }
        ("arm64", "arm") => {
            static RUNS: OnceLock<bool> = OnceLock::new();
            *RUNS.get_or_init(|| runs(&tiny_program(40, &ARM_EXIT)))
        }
        _ => false,
    };
    runs.then_some(How::Native)
}

/// Whether `platform` is the 32-bit mode of this machine's processor.
pub(crate) fn is_32_bit_of_host(platform: &Platform) -> bool {
    let host = Platform::host();
    matches!(
        (host.architecture.as_str(), platform.architecture.as_str()),
        ("amd64", "386") | ("arm64", "arm")
    )
}

/// What a variant of this machine's own architecture needs that the processor lacks.
#[cfg(target_arch = "x86_64")]
fn missing_feature(platform: &Platform) -> Option<String> {
    macro_rules! has {
        ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let v2 = has!("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b");
    let v3 = v2 && has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe");
    let v4 = v3 && has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl");
    let has = match platform.variant.as_str() {
        "" | "v1" => true,
        "v2" => v2,
        "v3" => v3,
        "v4" => v4,
        _ => false,
    };
    (!has).then(|| format!("this processor is not an x86-64-{}", platform.variant))
}

/// Variants of other architectures tell too little to judge.
#[cfg(not(target_arch = "x86_64"))]
fn missing_feature(_platform: &Platform) -> Option<String> {
    None
}

/// `mov eax, 1; xor ebx, ebx; int 0x80`
const X86_EXIT: [u8; 9] = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
/// `mov r7, #1; mov r0, #0; svc #0`
const ARM_EXIT: [u8; 12] = [0x01, 0x70, 0xa0, 0xe3, 0, 0, 0xa0, 0xe3, 0, 0, 0, 0xef];

/// A 32-bit program that exits with 0, to try what the kernel makes of it.
fn tiny_program(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x1_0000;
    const HEADERS: u32 = 52 + 32;
    let size = HEADERS + u32::try_from(code.len()).unwrap_or_default();
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut halves = |values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    halves(&[2, machine]);
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        for value in values {
            file.extend(value.to_le_bytes());
        }
    };
    // Version, entry, program headers at, section headers at, flags (EABI 5 for ARM).
    let flags = if machine == 40 { 0x0500_0000 } else { 0 };
    words(&mut file, &[1, BASE + HEADERS, 52, 0, flags]);
    for value in [52_u16, 32, 1, 0, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    // One loaded segment, readable and executable: the whole file.
    words(&mut file, &[1, 0, BASE, BASE, size, size, 5, 0x1000]);
    file.extend(code);
    file
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of our own, to try what the processor runs"
)]
fn runs(program: &[u8]) -> bool {
    let run = || -> io::Result<bool> {
        let memory = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC)?;
        let mut file = fs_err::File::from_parts(memory.into(), "probe");
        file.write_all(program)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let status = Command::new(path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    };
    run().unwrap_or(false)
}

/// Whether a program can run where none of its libraries are: it names no dynamic loader.
pub(crate) fn check_static(path: &Path) -> Result<(), String> {
    let mut head = Vec::new();
    let read = fs_err::File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut head));
    if let Err(error) = read {
        return Err(format!("cannot be read: {error}"));
    }
    match has_interpreter(&head) {
        Some(false) => Ok(()),
        Some(true) => {
            Err("is dynamically linked, and an image does not have its libraries".to_owned())
        }
        None => Err("is not a program for this machine".to_owned()),
    }
}

/// Whether a 64-bit little-endian ELF program has a `PT_INTERP`.
fn has_interpreter(head: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01\x01") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let at = u64::from_le_bytes(head.get(32..40)?.try_into().ok()?);
    let (at, size, count) = (usize::try_from(at).ok()?, usize::from(half(54)?), half(56)?);
    for index in 0..usize::from(count) {
        let start = at.checked_add(index.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(head.get(start..start.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

/// What an emulator says of itself: `7.2.22`. Empty when it says nothing.
#[expect(clippy::disallowed_methods, reason = "asks an emulator for its version")]
pub(crate) fn version(path: &Path) -> String {
    let output = Command::new(path).arg("--version").env_clear().stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    parse_version(&String::from_utf8_lossy(&text)).unwrap_or_default().to_owned()
}

/// `qemu-arm version 7.2.22 (Debian …)`.
fn parse_version(text: &str) -> Option<&str> {
    let (_, rest) = text.lines().next()?.split_once(" version ")?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_qemu_says() {
        let text = "qemu-arm version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright\n";
        assert_eq!(parse_version(text), Some("7.2.22"));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn a_tiny_program_has_no_interpreter_and_a_broken_one_is_refused() {
        assert_eq!(has_interpreter(b"\x7fELF\x02\x01\x01"), None);
        assert_eq!(has_interpreter(&tiny_program(3, &X86_EXIT)), None);
        let this = fs_err::read("/proc/self/exe").unwrap();
        assert!(has_interpreter(&this).is_some());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_plain_variant_needs_nothing_and_an_unknown_one_is_missing() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let host = platform("linux/amd64");
        assert_eq!(native(&host, &host), Some(How::Native));
        assert!(matches!(native(&host, &platform("linux/amd64/v9")), Some(How::Missing { .. })));
        assert_eq!(native(&host, &platform("linux/arm64")), None);
    }
}
