//! Handlers of foreign programs in the kernel's `binfmt_misc`.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::graft;
use crate::target::Target;

/// `O`: the program is handed over open; `C`: with its own credentials, so that set-id programs work; `P`: the
/// program's own name for itself is kept; `F`: the emulator is opened now, so that it is found in any root.
const FLAGS: &str = "FPOC";
/// Where the host's own instance is, when somebody mounted it.
const HOST: &str = "/proc/sys/fs/binfmt_misc";
/// The user namespace the machine started with, whose instance is everybody's.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// An instance of our own user namespace. It is mounted, but nowhere: only this descriptor leads to it.
///
/// While it exists, the host's handlers do not count for this process and what it starts.
#[derive(Debug)]
pub(crate) struct Private {
    mount: OwnedFd,
    registered: Vec<&'static str>,
    /// Emulators held in memory, open as long as their handler.
    changed: Vec<fs_err::File>,
}

/// Whether an instance made here would be private: never true in the machine's first user namespace.
pub(crate) fn may_be_private() -> bool {
    let own = fs_err::metadata("/proc/self/ns/user").map(|namespace| namespace.ino());
    own.is_ok_and(|own| own != INITIAL_USER_NAMESPACE) && kernel_is_at_least(6, 7)
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(have_major)), Some(Ok(have_minor))) => (have_major, have_minor) >= (major, minor),
        _ => false,
    }
}

impl Private {
    pub(crate) fn new() -> io::Result<Self> {
        if !may_be_private() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let context = rustix::mount::fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount =
            rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        Ok(Self { mount, registered: Vec::new(), changed: Vec::new() })
    }

    /// Registers `emulator`. Says whether it imitates the processor that suits it best, rather than its default.
    pub(crate) fn register(&mut self, target: &Target, emulator: &Path) -> io::Result<bool> {
        if self.registered.contains(&target.architecture) {
            return Ok(false);
        }
        let changed = match target.processor {
            Some((processor, trial)) => graft::with_arguments(emulator, ["-cpu", processor], trial),
            None => None,
        };
        let path = match &changed {
            Some(file) => format!("/proc/self/fd/{}", file.as_raw_fd()),
            None => emulator.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned(),
        };
        if path.contains([':', '\n']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its path contains a colon"));
        }
        let register =
            openat(&self.mount, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut register = fs_err::File::from_parts(register.into(), "binfmt_misc/register");
        register.write_all(line(target, &path).as_bytes())?;
        self.registered.push(target.architecture);
        let suited = changed.is_some();
        self.changed.extend(changed);
        Ok(suited)
    }
}

/// `:NAME:M:OFFSET:MAGIC:MASK:INTERPRETER:FLAGS`
fn line(target: &Target, emulator: &str) -> String {
    let (magic, mask) = target.magic();
    let escape = |bytes: [u8; 20]| -> String { hexadecimal(&bytes, "\\x") };
    let name = target.qemu_name();
    format!(":{name}:M:0:{}:{}:{emulator}:{FLAGS}", escape(magic), escape(mask))
}

fn hexadecimal(bytes: &[u8], prefix: &str) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{prefix}{byte:02x}")).collect();
    digits.concat()
}

/// The emulator of an enabled handler of the host that takes `target`'s programs in any root (flag `F`).
pub(crate) fn host_handler(target: &Target) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs_err::read_dir(HOST).ok()?.flatten().map(|e| e.path()).collect();
    entries.sort();
    entries.iter().find_map(|path| {
        let text = fs_err::read_to_string(path).ok()?;
        emulator_in(&text, target)
    })
}

/// Reads what the kernel says of one handler.
fn emulator_in(text: &str, target: &Target) -> Option<PathBuf> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (magic, _) = target.magic();
    let wanted = hexadecimal(&magic, "");
    let bytes = |text: &str, at: usize| text.get(at..at + 4).map(str::to_owned);
    let same_machine = field("magic ").is_some_and(|magic| {
        // Class and byte order, then machine.
        bytes(magic, 8) == bytes(&wanted, 8) && bytes(magic, 36) == bytes(&wanted, 36)
    });
    let opened = field("flags:").is_some_and(|flags| flags.contains('F'));
    let enabled = text.lines().next() == Some("enabled");
    (enabled && opened && same_machine).then(|| field("interpreter ").map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_the_host_is_recognised() {
        let text = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                    magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let target = |name| Target::of(&oci::Platform::new("linux", name)).unwrap();
        let path = PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
        assert_eq!(emulator_in(text, &target("arm64")), Some(path));
        assert_eq!(emulator_in(text, &target("riscv64")), None);
        assert_eq!(emulator_in(&text.replace("enabled", "disabled"), &target("arm64")), None);
        assert_eq!(emulator_in(&text.replace("POCF", "POC"), &target("arm64")), None);
        assert_eq!(emulator_in("enabled\n", &target("arm64")), None);
    }

    #[test]
    fn nothing_is_registered_with_the_host() {
        if !may_be_private() {
            assert!(Private::new().is_err());
        }
    }
}
