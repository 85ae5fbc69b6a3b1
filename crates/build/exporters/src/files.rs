//! Writes the file tree of a result: to a directory of the user, or as a plain tar.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use build_api::Destination;
use fs_err::File;
use fstree::{
    Changeset, Entry, Kind, Metadata, Mtime, Owners, RelPath, Root, TreeForm, TreeWriter,
    WriteOptions,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

use crate::task::Task;
use crate::{ExportContext, ExportError, ExportInput, PlatformResult, folder, shown};

/// Everything that the layers of a result show.
fn flatten(result: &PlatformResult) -> Result<Changeset, ExportError> {
    (result.files)()
        .map_err(|source| ExportError::Read { platform: Box::new(result.platform.clone()), source })
}

/// `type=tar`: one archive; with a folder per platform if `split`.
pub(crate) fn tar(
    input: &ExportInput,
    dest: &Destination,
    split: bool,
    context: &ExportContext<'_>,
) -> Result<String, ExportError> {
    let task = Task::begin(context, "writing files");
    let outcome = (|| {
        let mut all = Changeset::new();
        for result in &input.platforms {
            let files = flatten(result)?;
            if split {
                let folder = RelPath::clean(folder(&result.platform));
                let made = Mtime::seconds(context.epoch.unwrap_or(0));
                for entry in files.iter().filter(|entry| !entry.path.is_root()) {
                    all.insert(beneath(&folder, entry));
                }
                all.insert(Entry {
                    path: folder,
                    kind: Kind::DIRECTORY,
                    meta: Metadata::root_owned(0o755, made),
                });
            } else {
                all.entries.extend(files.entries);
            }
        }
        all.entries.remove(&RelPath::root());
        let path = Path::new(match dest {
            Destination::Path(path) => path.as_os_str(),
            Destination::Stdout => "(standard output)".as_ref(),
        });
        to_destination(dest, |out| {
            layer::write_tar(&all, None, out).map_err(|source| ExportError::Tar {
                path: path.to_owned(),
                source: Box::new(source),
            })
        })
    })();
    task.end(outcome)?;
    Ok(format!("wrote the files to {}", shown(dest)))
}

fn beneath(folder: &RelPath, entry: &Entry) -> Entry {
    let kind = match &entry.kind {
        Kind::Hardlink(target) => Kind::Hardlink(folder.join_path(target)),
        other => other.clone(),
    };
    Entry { path: folder.join_path(&entry.path), kind, meta: entry.meta.clone() }
}

/// Writes to a file that gets its name when it is whole, or to standard output.
pub(crate) fn to_destination(
    dest: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let path = match dest {
        Destination::Stdout => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            write(&mut out)?;
            return out.flush().map_err(ExportError::io("(standard output)"));
        }
        Destination::Path(path) => path,
    };
    if !archive::may_be_replaced(path) {
        let mut out =
            BufWriter::with_capacity(1 << 20, File::create(path).map_err(ExportError::io(path))?);
        write(&mut out)?;
        return out.flush().map_err(ExportError::io(path));
    }
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    // A file without a name goes with the process; where the file system has none, what is left is told by its name.
    let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let (file, named) = match rustix::fs::open(directory, nameless, Mode::from_raw_mode(0o666)) {
        Ok(fd) => (File::from_parts(fd.into(), path), false),
        Err(_) => (File::create(&part).map_err(ExportError::io(path))?, true),
    };
    let outcome = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush().map_err(ExportError::io(path))?;
        if !named {
            let link = format!("/proc/self/fd/{}", out.get_ref().as_raw_fd());
            let linked = linkat(CWD, link, CWD, &part, AtFlags::SYMLINK_FOLLOW);
            linked.map_err(|errno| ExportError::io(path)(errno.into()))?;
        }
        fs_err::rename(&part, path).map_err(ExportError::io(path))
    })();
    if outcome.is_err() {
        drop(fs_err::remove_file(&part));
    }
    outcome
}

/// `type=local`: files of the user who asks, on top of what the directory has.
pub(crate) fn local(
    input: &ExportInput,
    dest: &Path,
    split: bool,
    context: &ExportContext<'_>,
    warnings: &mut Vec<String>,
) -> Result<String, ExportError> {
    let task = Task::begin(context, "copying files");
    let outcome: Result<(), ExportError> = (|| {
        for result in &input.platforms {
            let dir = if split { dest.join(folder(&result.platform)) } else { dest.to_owned() };
            fs_err::create_dir_all(&dir).map_err(ExportError::io(&dir))?;
            let files = flatten(result)?;
            let failed = |source| ExportError::Tree { path: dir.clone(), source: Box::new(source) };
            let root = Root::open(&dir).map_err(ExportError::io(&dir))?;
            let mut writer = TreeWriter::new(
                root,
                WriteOptions { owners: Owners::IDENTITY, form: TreeForm::Plain },
            );
            let mut devices = 0;
            for entry in &files {
                match entry.kind {
                    Kind::CharDevice { .. } | Kind::BlockDevice { .. } => devices += 1,
                    // The directory is the user's; so are its mode and times.
                    _ if entry.path.is_root() => {}
                    _ => writer.put(&as_own(entry)).map_err(failed)?,
                }
            }
            writer.finish().map_err(failed)?;
            if devices > 0 {
                warnings.push(format!(
                    "{devices} device files of {} were left out of {}",
                    result.platform,
                    dir.display()
                ));
            }
        }
        Ok(())
    })();
    task.end(outcome)?;
    Ok(format!("wrote the files to {}", dest.display()))
}

/// The entry as the user's own file: without the image's owner, and without rights that come with one.
fn as_own(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.meta.uid = rustix::process::geteuid().as_raw();
    entry.meta.gid = rustix::process::getegid().as_raw();
    entry.meta.xattrs.retain(|name, _| name.starts_with(b"user."));
    if !entry.kind.is_directory() {
        entry.meta.mode &= 0o1777;
    }
    entry
}
