//! Which image is meant, and what is in it.

use std::io::Read;
use std::path::{Path, PathBuf};

use archive::ArchiveError;
use blobs::{BlobError, BlobReader};
use images::{ImageError, Opened};
use layer::tar::{Limits, Reader};
use oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use store::Store;
use windows_image::{Contents, Scan, ScanError};

use crate::args::WindowsImageArgs;
use crate::commands::store_failure;
use crate::failure::Failure;
use crate::request::{platforms, reference};
use crate::session::Session;

/// An archive is not larger when it is decompressed.
const ARCHIVE_LIMIT: u64 = 1 << 40;

/// What was found under one name, looked into.
pub(super) struct Looked {
    /// What the user called it, cleaned of schemes.
    pub(super) name: String,
    /// One for each Windows platform, or a single layer.
    pub(super) parts: Vec<Part>,
}

/// One image, or a single layer.
pub(super) struct Part {
    /// Of its manifest, or of the layer.
    pub(super) digest: Option<Digest>,
    /// What the index says it runs on; of a single manifest nothing but its configuration does.
    pub(super) platform: Option<Platform>,
    pub(super) manifest: Option<Manifest>,
    pub(super) config: Option<ImageConfig>,
    pub(super) contents: Contents,
}

impl Part {
    /// The name of the base image, where an annotation has it.
    pub(super) fn base_name(&self) -> Option<&str> {
        let annotations = &self.manifest.as_ref()?.annotations;
        annotations.get("org.opencontainers.image.base.name").map(String::as_str)
    }

    /// What it runs on, or that it is one layer.
    pub(super) fn title(&self) -> String {
        self.platform
            .clone()
            .or_else(|| self.config.as_ref().map(ImageConfig::platform))
            .map_or_else(|| "layer".to_owned(), |platform| platform.to_string())
    }

    pub(super) fn layers(&self) -> &[Descriptor] {
        self.manifest.as_ref().map_or(&[], |manifest| &manifest.layers)
    }
}

/// Finds the image and reads its layers.
pub(super) fn look(args: &WindowsImageArgs, session: &Session<'_>) -> Result<Looked, Failure> {
    let wanted = platforms("--platform", args.platform.as_deref())?.pop();
    let text = args.image.as_str();
    if let Some(layout) = text.strip_prefix("oci-layout://") {
        let (path, tag) = split_tag(layout);
        return archived(Path::new(&path), tag, args, wanted.as_ref(), session);
    }
    let path = Path::new(text);
    let is_path = text.starts_with(['.', '/']) || text == "-";
    let known = if is_path { None } else { in_store(text, session)? };
    match known {
        Some(Known::Layer(digest)) => {
            let (store, _lease) = session.store()?;
            let blob = store.open_blob(&digest).map_err(store_failure("open the layer"))?;
            let part = layer(blob, Some(digest), args.as_base, &store)?;
            Ok(Looked { name: text.to_owned(), parts: vec![part] })
        }
        Some(Known::Image(found)) => stored(&found.0, &found.1, args, wanted.as_ref(), session),
        None if is_path || path.exists() => archived(path, None, args, wanted.as_ref(), session),
        None => fetched(text, args, wanted.as_ref(), session),
    }
}

/// `DIR:TAG`, where `DIR` itself does not exist.
fn split_tag(layout: &str) -> (String, Option<&str>) {
    match layout.rsplit_once(':') {
        Some((path, tag)) if !Path::new(layout).exists() => (path.to_owned(), Some(tag)),
        _ => (layout.to_owned(), None),
    }
}

enum Known {
    Image(Box<(Reference, Descriptor)>),
    Layer(Digest),
}

/// What the local store has under a name, or a digest.
fn in_store(text: &str, session: &Session<'_>) -> Result<Option<Known>, Failure> {
    let (store, _lease) = session.store()?;
    if let Ok(digest) = text.parse::<Digest>() {
        if store.blob_size(&digest).is_none() {
            let hint = "name the image that it is of";
            return Err(Failure::hint(
                format!("there is no blob {digest} in the local store"),
                hint,
            ));
        }
        return Ok(Some(Known::Layer(digest)));
    }
    let Ok(name) = reference("image", text) else { return Ok(None) };
    let found = store.lookup(&name.to_string()).map_err(store_failure("look up a name"))?;
    Ok(found.map(|root| Known::Image(Box::new((name, root)))))
}

fn stored(
    name: &Reference,
    root: &Descriptor,
    args: &WindowsImageArgs,
    wanted: Option<&Platform>,
    session: &Session<'_>,
) -> Result<Looked, Failure> {
    if args.complete {
        let engine = session.engine()?;
        let title = format!("completing {}", name.familiar());
        let shown = session.display(session.mode(None, false)?, &title, false)?;
        let completed = engine.complete(root, &shown);
        drop(shown.finish());
        completed.map_err(|error| session.failure(error))?;
    }
    let (store, _lease) = session.store()?;
    let spool = store.temporary_directory().map_err(store_failure("make a temporary directory"))?;
    let parts = parts(&name.familiar(), &store, root, wanted, spool.path())?;
    Ok(Looked { name: name.familiar(), parts })
}

/// Brings the Windows images of a registry's name into the store, without the name.
fn fetched(
    text: &str,
    args: &WindowsImageArgs,
    wanted: Option<&Platform>,
    session: &Session<'_>,
) -> Result<Looked, Failure> {
    let name = reference("image", text)?;
    let is_wanted = |platform: &Platform| {
        platform.is_windows() && wanted.is_none_or(|wanted| platform.satisfies(wanted))
    };
    let engine = session.engine()?;
    let (store, _lease) = session.store()?;
    let shown = session.display(
        session.mode(None, false)?,
        &format!("reading {}", name.familiar()),
        false,
    )?;
    let root = engine.fetch(&name, &is_wanted, &shown);
    drop(shown.finish());
    let root = root.map_err(|error| session.failure(error))?;
    let spool = store.temporary_directory().map_err(store_failure("make a temporary directory"))?;
    let parts = parts(&args.image, &store, &root, wanted, spool.path())?;
    Ok(Looked { name: name.familiar(), parts })
}

/// A layout, an archive of images, or the file of one layer.
fn archived(
    path: &Path,
    tag: Option<&str>,
    args: &WindowsImageArgs,
    wanted: Option<&Platform>,
    session: &Session<'_>,
) -> Result<Looked, Failure> {
    let failed = |error: ArchiveError| Failure::because("cannot read the archive", error);
    let unreadable = |error: std::io::Error| Failure::because("cannot read the image", error);
    let (store, _lease) = session.store()?;
    let spool = store.temporary_directory().map_err(store_failure("make a temporary directory"))?;
    let name = path.display().to_string();
    fs_err::metadata(path).map_err(unreadable)?;
    if path.is_file() && is_layer(path)? {
        let file = fs_err::File::open(path).map_err(unreadable)?;
        return Ok(Looked { name, parts: vec![layer(file, None, args.as_base, &store)?] });
    }
    let opened = match archive::open(path) {
        Err(ArchiveError::Compressed { .. }) => {
            let copy: PathBuf = spool.path().join("archive.tar");
            let file = fs_err::File::open(path).map_err(unreadable)?;
            archive::spool(file, &copy, ARCHIVE_LIMIT).map_err(failed)?;
            archive::open(&copy)
        }
        opened => opened,
    };
    let opened = opened.map_err(|error| match error {
        ArchiveError::Absent { .. } => Failure::hint(
            format!("`{name}` is neither a Windows layer nor an archive of images"),
            "layers begin with `Hives` or `Files`; archives are OCI layouts or what `docker save` writes",
        ),
        error => failed(error),
    })?;
    let images = opened.images();
    let is_meant = |image: &&archive::ArchivedImage| {
        tag.is_none_or(|tag| {
            image.names.iter().any(|name| name == tag || name.rsplit(':').next() == Some(tag))
        })
    };
    let mut all = Vec::new();
    for image in images.iter().filter(is_meant) {
        all.extend(parts(&name, opened.as_ref(), &image.root, wanted, spool.path())?);
    }
    if all.is_empty() {
        let names: Vec<&str> = images.iter().flat_map(|it| &it.names).map(String::as_str).collect();
        return Err(Failure::hint(
            format!("`{name}` holds no such image"),
            format!(
                "it holds {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ),
        ));
    }
    Ok(Looked { name, parts: all })
}

/// Whether a file's first member is one that only Windows layers have.
fn is_layer(path: &Path) -> Result<bool, Failure> {
    let file = fs_err::File::open(path)
        .map_err(|error| Failure::because("cannot read the image", error))?;
    let Ok(plain) = layer::decompress(file, ARCHIVE_LIMIT) else { return Ok(false) };
    let first = Reader::new(plain, Limits::default()).next_member();
    let is_top = |path: &[u8]| {
        let top = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        ["Files", "Hives", "UtilityVM"].iter().any(|name| name.as_bytes() == top)
    };
    Ok(matches!(first, Ok(Some(header)) if is_top(&header.path)))
}

/// One layer alone.
fn layer(
    reader: impl Read + Send,
    digest: Option<Digest>,
    as_base: bool,
    store: &Store,
) -> Result<Part, Failure> {
    let spool = store.temporary_directory().map_err(store_failure("make a temporary directory"))?;
    let mut scan = Scan::new(spool.path());
    scan.layer(reader, None, !as_base).map_err(scan_failure)?;
    Ok(Part { digest, platform: None, manifest: None, config: None, contents: scan.finish() })
}

fn scan_failure(error: ScanError) -> Failure {
    Failure::because("cannot look into the image", error)
}

/// The Windows images that a descriptor leads to, with their layers read.
fn parts(
    name: &str,
    from: &dyn BlobReader,
    root: &Descriptor,
    wanted: Option<&Platform>,
    temporary: &Path,
) -> Result<Vec<Part>, Failure> {
    let failed = |error: ImageError| Failure::because(format!("cannot read {name}"), error);
    let mut others: Vec<String> = Vec::new();
    let mut roots = Vec::new();
    match images::open(from, root).map_err(failed)? {
        Opened::Image(_) => roots.push((root.clone(), false)),
        Opened::Index(index) => {
            for entry in index.value.manifests.iter().filter(|entry| images::is_image(entry)) {
                match &entry.platform {
                    Some(platform) if !platform.is_windows() => others.push(platform.to_string()),
                    _ => roots.push((entry.clone(), true)),
                }
            }
        }
    }
    let mut parts = Vec::new();
    for (root, in_index) in roots {
        let found = match images::inspect(from, &root) {
            // Of an index, one platform may have been pulled and others not.
            Err(ImageError::Blob { source: BlobError::Missing(_), .. }) if in_index => {
                let platform = root.platform.as_ref().map_or_else(String::new, ToString::to_string);
                others.push(format!("{platform} (which is not here; pull it)"));
                continue;
            }
            found => found.map_err(failed)?,
        };
        for image in found {
            let platform = image.config.value.platform();
            let fits = wanted.is_none_or(|wanted| {
                let said = root.platform.clone().unwrap_or_else(|| platform.clone());
                said.satisfies(wanted)
            });
            if !platform.is_windows() || !fits {
                others.push(platform.to_string());
                continue;
            }
            let contents = contents(from, &image, temporary)?;
            parts.push(Part {
                digest: Some(image.descriptor.digest.clone()),
                platform: root.platform.clone().filter(|_| in_index),
                contents,
                manifest: Some(image.manifest.value),
                config: Some(image.config.value),
            });
        }
    }
    if !parts.is_empty() {
        return Ok(parts);
    }
    let have = others.join(", ");
    Err(match wanted {
        Some(wanted) => {
            Failure::hint(format!("{name} has no image for {wanted}"), format!("it has {have}"))
        }
        None => Failure::hint(
            format!("{name} is no Windows image: it is for {have}"),
            "build it with --platform windows/amd64, or name another",
        ),
    })
}

/// Reads the layers that are here.
fn contents(
    from: &dyn BlobReader,
    image: &images::PlatformImage,
    temporary: &Path,
) -> Result<Contents, Failure> {
    let mut scan = Scan::new(temporary);
    let mut on_a_base = false;
    for (blob, diff_id) in image.layers() {
        if !media_type::is_layer(&blob.media_type) {
            scan.skip();
            on_a_base = true;
            continue;
        }
        match from.open(blob) {
            Ok(reader) => {
                scan.layer(reader, Some(diff_id), on_a_base).map_err(scan_failure)?;
            }
            // Layers of bases stay in their registry until somebody needs their bytes.
            Err(BlobError::Missing(_)) => {
                scan.skip();
                on_a_base = true;
            }
            Err(error) => return Err(Failure::because("cannot open a layer", error)),
        }
    }
    Ok(scan.finish())
}
