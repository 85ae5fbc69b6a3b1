//! The base of HostProcess containers, from nothing.
//!
//! A HostProcess container is a process of the host: of its image only the files count, no program of a base. What a
//! host asks of a base layer are five registry hives, so that is what the image has. It has no `os.version` on purpose:
//! it runs on every release.

use std::sync::Arc;

use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime, RelPath};
use oci::{History, ImageConfig, Platform};

/// What a container does that is told nothing: the host's shell.
const COMMAND: &str = "c:\\windows\\system32\\cmd.exe";

/// The configuration of an HPC base for a platform, without its layer's digest. `time` is RFC 3339.
pub fn hpc_base(platform: &Platform, time: &str) -> ImageConfig {
    let mut config = ImageConfig::new(platform);
    config.os_version.clear();
    config.created = Some(time.to_owned());
    config.config.cmd = Some(vec![COMMAND.to_owned()]);
    config.history = vec![History {
        created: Some(time.to_owned()),
        created_by: "crossdock windows base hpc".to_owned(),
        ..History::default()
    }];
    config
}

/// The files of an HPC base: `C:\Windows\System32\config` with five hives that hold a root key each.
pub fn hpc_files(time: Mtime) -> Changeset {
    let hive: Arc<[u8]> = regf::base_hive().into();
    let mut files = Changeset::new();
    for path in windows::layout::BASE_HIVES.map(RelPath::clean) {
        for parent in path.ancestors().filter(|parent| !parent.is_root()) {
            let kind = Kind::Directory { opaque: false };
            files.insert(Entry { path: parent, kind, meta: Metadata::root_owned(0o755, time) });
        }
        let kind = Kind::File(Content::bytes(Arc::clone(&hive)));
        files.insert(Entry { path, kind, meta: Metadata::root_owned(0o644, time) });
    }
    files
}

#[cfg(test)]
mod tests {
    use layer::{Compression, Form, PackOptions, pack, windows_check};

    use super::*;

    #[test]
    fn the_layer_of_an_hpc_base_is_one_that_windows_imports() {
        let options = PackOptions {
            form: Form::Windows,
            compression: Compression::Uncompressed,
            ..PackOptions::default()
        };
        let mut tar = Vec::new();
        pack(&hpc_files(Mtime::default()), &options, &mut tar).unwrap();
        assert_eq!(windows_check(tar.as_slice(), None).unwrap(), []);
        let hives = tar.chunks(512).filter(|block| block.starts_with(b"regf")).count();
        assert_eq!(hives, 5);
    }
}
