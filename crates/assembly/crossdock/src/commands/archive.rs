//! `crossdock image save` and `crossdock image load`.

use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use archive::{ArchiveError, Image, ImageArchive};
use blobs::{BlobWriter, read_verified};
use oci::{Descriptor, Document, Index, Manifest, Platform, Reference, media_type};
use store::Store;

use super::image::{images_of, lookup};
use super::{lines, print, store_failure};
use crate::args::{ArchiveKind, LoadArgs, SaveArgs};
use crate::failure::Failure;
use crate::request::{UsageError, platforms, reference};
use crate::session::Session;

/// Documents larger than this are not read.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// An archive is not larger when it is decompressed.
const ARCHIVE_LIMIT: u64 = 1 << 40;
/// Indexes within indexes.
const DEPTH: usize = 4;

/// Writes images of the store to an archive.
pub(crate) fn save(args: &SaveArgs, session: &Session<'_>) -> Result<(), Failure> {
    let wanted = platforms("--platform", args.platform.as_deref())?.pop();
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(UsageError::new(
            "an archive would be written to the terminal",
            "add `--output FILE`",
        )
        .into());
    }
    let (store, _lease) = session.store()?;
    let mut roots: Vec<(Descriptor, Vec<String>)> = Vec::new();
    for name in &args.images {
        let (name, descriptor) = lookup(&store, name)?;
        let root = match (args.format, &wanted) {
            (ArchiveKind::Oci, None) => descriptor,
            _ => one_platform(&store, &name, &descriptor, wanted.as_ref())?,
        };
        match roots.iter_mut().find(|(known, _)| known.digest == root.digest) {
            Some((_, names)) => names.push(name.to_string()),
            None => roots.push((root, vec![name.to_string()])),
        }
    }
    for (root, names) in &roots {
        complete(&store, root, names, session)?;
    }
    let images: Vec<Image<'_>> = roots.iter().map(|(root, names)| Image { root, names }).collect();
    let write = |out: &mut dyn Write| match args.format {
        ArchiveKind::Docker => archive::write_docker_tar(out, &images, &store),
        ArchiveKind::Oci => archive::write_oci_tar(out, &images, &store),
    };
    match &args.output {
        None => write(&mut BufWriter::new(io::stdout().lock())).map_err(write_failure),
        Some(path) => to_file(path, write),
    }
}

/// An archive that nobody reads to its end is no failure.
fn write_failure(error: ArchiveError) -> Failure {
    match error {
        ArchiveError::Write { source } if source.kind() == io::ErrorKind::BrokenPipe => {
            Failure::because("cannot write to standard output", source)
        }
        error => Failure::because("cannot write the archive", error),
    }
}

/// A file appears under its name when it is complete.
fn to_file(
    path: &Path,
    write: impl Fn(&mut dyn Write) -> Result<(), ArchiveError>,
) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::because(format!("cannot write {}", path.display()), error);
    if !::archive::may_be_replaced(path) {
        let mut out = BufWriter::new(fs_err::File::create(path).map_err(failed)?);
        write(&mut out).map_err(write_failure)?;
        return out.flush().map_err(failed);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let attempt = || {
        let mut out = BufWriter::new(fs_err::File::create(&temporary).map_err(failed)?);
        write(&mut out).map_err(write_failure)?;
        out.flush().map_err(failed)?;
        drop(out);
        fs_err::rename(&temporary, path).map_err(failed)
    };
    attempt().inspect_err(|_| drop(fs_err::remove_file(&temporary)))
}

/// The image of an index that is asked for, or this machine's, or the only one.
fn one_platform(
    store: &Store,
    name: &Reference,
    descriptor: &Descriptor,
    wanted: Option<&Platform>,
) -> Result<Descriptor, Failure> {
    let images = images_of(store, descriptor)?;
    let fits = |wanted: &Platform| {
        images.iter().find(|image| {
            image.platform.as_ref().is_some_and(|platform| platform.satisfies(wanted))
        })
    };
    let found = match (wanted, images.as_slice()) {
        (Some(wanted), _) => fits(wanted),
        (None, [image]) => Some(image),
        (None, _) => fits(&Platform::host()),
    };
    found.map(|image| image.manifest.clone()).ok_or_else(|| {
        let have: Vec<String> = images
            .iter()
            .filter_map(|image| image.platform.as_ref().map(ToString::to_string))
            .collect();
        let asked = wanted.cloned().unwrap_or_else(Platform::host);
        Failure::hint(
            format!("{} has no image for {asked}", name.familiar()),
            format!(
                "it has {}; name one with --platform, or use --format oci for all",
                have.join(", ")
            ),
        )
    })
}

/// Everything beneath `root` must be here. Layers of bases may only be known by digest: they are fetched.
fn complete(
    store: &Store,
    root: &Descriptor,
    names: &[String],
    session: &Session<'_>,
) -> Result<(), Failure> {
    if lacking(store, root)?.is_empty() {
        return Ok(());
    }
    let engine = session.engine()?;
    let title = format!("completing {}", names.first().map_or("the image", String::as_str));
    let shown = session.display(session.mode(None, false)?, &title, false)?;
    let completed = engine.complete(root, &shown);
    drop(shown.finish());
    completed?;
    let lacking = lacking(store, root)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let name = names.first().map_or("it", String::as_str);
    Err(Failure::hint(
        format!("{name} is not wholly in the local store: {} is missing", lacking.join(", ")),
        format!("`crossdock pull {name}` brings all of it, `--platform` saves one"),
    ))
}

/// The platforms of which something is not in the store.
fn lacking(store: &Store, root: &Descriptor) -> Result<Vec<String>, Failure> {
    let images = images_of(store, root)?;
    let missing = |image: &super::image::PlatformImage| match &image.documents {
        None => true,
        Some(documents) => documents.manifest.value.layers.iter().any(|layer| {
            !media_type::is_foreign_layer(&layer.media_type)
                && store.blob_size(&layer.digest).is_none()
        }),
    };
    let lacking: Vec<String> = images
        .iter()
        .filter(|image| missing(image))
        .map(|image| {
            image
                .platform
                .as_ref()
                .map_or_else(|| image.manifest.digest.to_string(), ToString::to_string)
        })
        .collect();
    Ok(lacking)
}

/// Reads images from an archive into the store.
pub(crate) fn load(args: &LoadArgs, session: &Session<'_>) -> Result<(), Failure> {
    let tags =
        args.tag.iter().map(|text| reference("--tag", text)).collect::<Result<Vec<_>, _>>()?;
    if args.input.is_none() && io::stdin().is_terminal() {
        return Err(UsageError::new("standard input is a terminal", "add `--input FILE`").into());
    }
    let (store, _lease) = session.store()?;
    let spool = store.temporary_directory().map_err(store_failure("make a temporary directory"))?;
    let archive = open(args.input.as_deref(), &spool.path().join("archive.tar"))?;
    let images = archive.images();
    if images.is_empty() {
        return Err(Failure::hint(
            "the archive holds no image",
            "it must be an OCI layout, or what `docker save` writes",
        ));
    }
    if images.len() > 1 && !tags.is_empty() {
        return Err(UsageError::new(
            format!("--tag names one image, but the archive holds {}", images.len()),
            "leave it out: they have their own names",
        )
        .into());
    }
    let mut loaded = Vec::new();
    for image in &images {
        copy(archive.as_ref(), &store, &image.root, DEPTH)?;
        let names = if tags.is_empty() {
            image
                .names
                .iter()
                .filter(|name| name.contains(['/', ':']))
                .map(|name| reference("name in the archive", name))
                .collect::<Result<Vec<_>, _>>()?
        } else {
            tags.clone()
        };
        if names.is_empty() {
            return Err(UsageError::new(
                "the archive does not say what its image is called",
                "add `--tag NAME`",
            )
            .into());
        }
        loaded.extend(names.into_iter().map(|name| (name.to_string(), image.root.clone())));
    }
    store.tag_all(&loaded).map_err(store_failure("give an image a name"))?;
    spool.remove().map_err(store_failure("remove a temporary directory"))?;
    print(&lines(loaded.iter().map(|(name, root)| format!("loaded {name}@{}", root.digest))))
}

/// Opens an archive as it is, or through a copy where it is compressed or comes from standard input.
fn open(input: Option<&Path>, copy: &Path) -> Result<Box<dyn ImageArchive>, Failure> {
    let failed = |error: ArchiveError| Failure::because("cannot read the archive", error);
    let spooled = |reader: Box<dyn Read + Send>| {
        archive::spool(reader, copy, ARCHIVE_LIMIT).map_err(failed)?;
        archive::open(copy).map_err(failed)
    };
    match input {
        None => spooled(Box::new(io::stdin())),
        Some(path) => match archive::open(path) {
            Err(ArchiveError::Compressed { .. }) => {
                let file = fs_err::File::open(path)
                    .map_err(|error| Failure::because("cannot read the archive", error))?;
                spooled(Box::new(file))
            }
            opened => opened.map_err(failed),
        },
    }
}

/// Copies a graph of blobs, what is named before what names it.
fn copy(
    from: &dyn ImageArchive,
    store: &dyn BlobWriter,
    root: &Descriptor,
    depth: usize,
) -> Result<(), Failure> {
    let failed = |error: blobs::BlobError| Failure::because("cannot copy from the archive", error);
    let damaged = |error: oci::DocumentError| {
        Failure::because(format!("cannot follow {}", root.digest), error)
    };
    if media_type::is_index(&root.media_type) && depth > 0 {
        let index: Document<Index> = Document::parse(
            read_verified(from, root, DOCUMENT_LIMIT).map_err(failed)?,
            "image index",
        )
        .map_err(damaged)?;
        for child in &index.value.manifests {
            copy(from, store, child, depth - 1)?;
        }
    } else if media_type::is_manifest(&root.media_type) {
        let manifest: Document<Manifest> = Document::parse(
            read_verified(from, root, DOCUMENT_LIMIT).map_err(failed)?,
            "image manifest",
        )
        .map_err(damaged)?;
        for blob in manifest.value.layers.iter().chain([&manifest.value.config]) {
            if store.has(blob).map_err(failed)? {
                continue;
            }
            match from.open(blob) {
                Ok(mut content) => store.put(blob, &mut content).map_err(failed)?,
                // Windows bases of old are not handed on; their layers come from the descriptor's `urls`.
                Err(_) if media_type::is_foreign_layer(&blob.media_type) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    if store.has(root).map_err(failed)? {
        return Ok(());
    }
    store.put(root, &mut from.open(root).map_err(failed)?).map_err(failed)
}
