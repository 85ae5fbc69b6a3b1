//! Archives that a case asks for, entry by entry as its text says: what no archiver would write may be in them.

use std::io::Write;

use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::case::Entry;

/// A tar of `entries`, packed with `compression`; the same each time.
pub fn pack(entries: &[Entry], compression: &str) -> Result<Vec<u8>, Error> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        append(&mut tar, entry)?;
    }
    let tar = tar.into_inner()?;
    Ok(match compression {
        "" => tar,
        "gzip" => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            packer.write_all(&tar)?;
            packer.finish()?
        }
        "bzip2" => {
            let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(6));
            packer.write_all(&tar)?;
            packer.finish()?
        }
        "xz" => {
            let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 6);
            packer.write_all(&tar)?;
            packer.finish()?
        }
        "zstd" => zstd::encode_all(tar.as_slice(), 3)?,
        other => return Err(Error::shape("case.toml", format!("unknown compression {other}"))),
    })
}

fn append(tar: &mut Builder<Vec<u8>>, entry: &Entry) -> Result<(), Error> {
    let mut header = Header::new_gnu();
    let flag = entry.flag.unwrap_or('0');
    header.set_entry_type(EntryType::new(u8::try_from(flag).unwrap_or(b'0')));
    let usual = if flag == '5' { "0755" } else { "0644" };
    let mode = entry.mode.as_deref().unwrap_or(usual);
    let mode = u32::from_str_radix(mode, 8)
        .map_err(|_| Error::shape("mode in case.toml", format!("{mode} is not octal")))?;
    header.set_mode(mode);
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(1_600_000_000);
    header.set_size(entry.content.len() as u64);
    // The crate's own setters refuse what leads out of the archive.
    let mut raw = |name: &str, at: usize| -> Result<(), Error> {
        let field = header
            .as_mut_bytes()
            .get_mut(at..at + name.len().min(100))
            .ok_or_else(|| Error::shape("case.toml", "a name does not fit into a header"))?;
        field.copy_from_slice(name.as_bytes().get(..field.len()).unwrap_or_default());
        Ok(())
    };
    raw(&entry.path, 0)?;
    raw(&entry.target, 157)?;
    header.set_cksum();
    tar.append(&header, entry.content.as_bytes())?;
    Ok(())
}
