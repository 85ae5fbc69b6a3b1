//! Reads a build's standard input: a Dockerfile, or an archive that is kept in a file.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::request::{Stdin, StdinUse};

/// A Dockerfile is not larger.
const LARGEST_DOCKERFILE: u64 = 16 << 20;
/// As much as says what it is.
const HEAD: u64 = 512;

/// What was read, with the file that holds it, which goes away with this value or the process.
pub(crate) struct Spooled {
    pub(crate) stdin: Stdin,
    _file: Option<fs_err::File>,
}

/// Reads standard input as far as the command line asks for it. `dir` is where an archive is kept meanwhile.
pub(crate) fn read(using: StdinUse, input: &mut dyn Read, dir: &Path) -> Result<Spooled, Failure> {
    if using == StdinUse::Nothing {
        return Ok(Spooled { stdin: Stdin::Unread, _file: None });
    }
    let failed = |error: io::Error| Failure::because("cannot read standard input", error);
    let mut head = Vec::new();
    input.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if head.is_empty() {
        let hint = "send a Dockerfile or a tar archive, as in `crossdock build - < Dockerfile`";
        return Err(Failure::hint("standard input is empty", hint));
    }
    if is_archive(&head) {
        if using == StdinUse::Dockerfile {
            return Ok(Spooled { stdin: Stdin::Archive(PathBuf::new()), _file: None });
        }
        let mut file = temporary(dir)?;
        let copied = file.write_all(&head).and_then(|()| io::copy(input, &mut file));
        copied.and_then(|_| file.flush()).map_err(|error| {
            Failure::because("cannot keep the archive from standard input", error)
        })?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        return Ok(Spooled { stdin: Stdin::Archive(path), _file: Some(file) });
    }
    let mut bytes = head;
    input.take(LARGEST_DOCKERFILE + 1 - HEAD).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST_DOCKERFILE {
        return Err(Failure::hint(
            "standard input is too large for a Dockerfile",
            "a Dockerfile has at most 16 MiB; an archive must be a tar file",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::hint(
            "standard input is neither a tar archive nor text",
            "a Dockerfile is UTF-8 text",
        )
    })?;
    Ok(Spooled { stdin: Stdin::Text(text), _file: None })
}

/// Whether bytes begin a tar archive or one of the compressions it comes in.
fn is_archive(head: &[u8]) -> bool {
    const MAGIC: [&[u8]; 5] =
        [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x5d\0\0\x80\0"];
    let compressed = MAGIC.iter().any(|magic| head.starts_with(magic));
    compressed || head.get(257..262) == Some(b"ustar") || is_old_tar(head)
}

/// A header from before POSIX has no magic, but a checksum.
fn is_old_tar(head: &[u8]) -> bool {
    let Ok(header) = <&[u8; 512]>::try_from(head) else { return false };
    let field = header.get(148..156).unwrap_or_default();
    let digits: String =
        field.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    header[0] != 0 && u32::from_str_radix(&digits, 8).is_ok_and(|expected| expected == sum)
}

/// A new file without a name.
fn temporary(dir: &Path) -> Result<fs_err::File, Failure> {
    use fs_err::os::unix::fs::OpenOptionsExt;
    let failed = |error: io::Error| {
        Failure::because("cannot make a temporary file for standard input", error)
    };
    for attempt in 0..1000_u32 {
        let path = dir.join(format!(".crossdock-{}-{attempt}", std::process::id()));
        match fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => {
                fs_err::remove_file(&path).map_err(failed)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..1].copy_from_slice(b"a");
        header[257..263].copy_from_slice(b"ustar\0");
        header
    }

    #[test]
    fn a_dockerfile_is_read_as_text() -> Result<(), Failure> {
        let dir = tempfile::tempdir().unwrap();
        for using in [StdinUse::Dockerfile, StdinUse::Context] {
            let read = read(using, &mut b"FROM scratch\n".as_slice(), dir.path())?;
            assert_eq!(read.stdin, Stdin::Text("FROM scratch\n".into()));
        }
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
        Ok(())
    }

    #[test]
    fn an_archive_is_kept_in_a_file_without_a_name() -> Result<(), Failure> {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = archive();
        bytes.extend(vec![7; 100_000]);
        let read = read(StdinUse::Context, &mut bytes.as_slice(), dir.path())?;
        let Stdin::Archive(path) = &read.stdin else { panic!("an archive") };
        assert_eq!(fs_err::read(path).unwrap(), bytes);
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
        Ok(())
    }

    #[test]
    fn old_and_compressed_archives_are_recognised_and_dockerfiles_are_not() {
        let mut old = vec![0_u8; 512];
        old[0] = b'a';
        let sum: u32 = u32::from(b'a') + 8 * 32;
        old[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        assert!(is_archive(&old));
        assert!(is_archive(b"\x1f\x8b\x08\0"));
        assert!(is_archive(b"BZh9"));
        assert!(is_archive(&archive()));
        assert!(!is_archive(b"FROM scratch"));
        assert!(!is_archive(&[b'#'; 512]));
        assert!(!is_archive(&[0; 512]));
    }

    #[test]
    fn what_is_neither_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [b"".as_slice(), b"\xff\xfe\xfd", &vec![b'#'; (16 << 20) + 1]] {
            let result = read(StdinUse::Context, &mut &*bytes, dir.path());
            assert!(result.is_err(), "{} bytes", bytes.len());
        }
    }
}
