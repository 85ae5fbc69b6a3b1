//! Writes an image to a file: OCI layout or Docker archive.

use std::io::Write;
use std::path::Path;

use archive::ArchiveError;
use blobs::BlobError;
use build_api::{ArchiveFormat, Destination};
use oci::{Descriptor, Reference};

use crate::image::Image;
use crate::task::Task;
use crate::{ExportContext, ExportError, files, layers, shown};

pub(crate) fn write(
    image: &Image,
    names: &[Reference],
    format: ArchiveFormat,
    dest: &Destination,
    tar: bool,
    context: &ExportContext<'_>,
) -> Result<String, ExportError> {
    let kind = match format {
        ArchiveFormat::Oci => "OCI",
        ArchiveFormat::Docker => "Docker",
    };
    let task = Task::begin(context, &format!("writing {kind} image to {}", shown(dest)));
    let outcome = match dest {
        Destination::Path(directory) if !tar => fetch_all(image, context).and_then(|()| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let root = root(image);
            fs_err::create_dir_all(directory).map_err(ExportError::io(directory))?;
            archive::write_oci_layout(
                directory,
                archive::Image { root: &root, names: &names },
                context.store,
            )
            .map_err(|source| failed(directory, source, context))
        }),
        _ => files::to_destination(dest, |out| {
            write_tar(image, names, format, context, &shown(dest), out)
        }),
    };
    task.end(outcome)?;
    Ok(format!("wrote {} to {}", image.root.digest, shown(dest)))
}

/// Writes the archive; `place` is for errors.
pub(crate) fn write_tar(
    image: &Image,
    names: &[Reference],
    format: ArchiveFormat,
    context: &ExportContext<'_>,
    place: &str,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    fetch_all(image, context)?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let root = root(image);
    let images = [archive::Image { root: &root, names: &names }];
    let written: Result<(), ArchiveError> = match format {
        ArchiveFormat::Oci => archive::write_oci_tar(out, &images, context.store),
        ArchiveFormat::Docker => archive::write_docker_tar(out, &images, context.store),
    };
    written.map_err(|source| failed(Path::new(place), source, context))
}

/// A blob that turns out damaged is put aside, so that the next build gets or makes it again.
fn failed(path: &Path, source: ArchiveError, context: &ExportContext<'_>) -> ExportError {
    if let ArchiveError::Blob(BlobError::Mismatch { expected, .. }) = &source {
        // That it could not be put aside matters less than that it is damaged.
        drop(context.store.quarantine(expected));
    }
    ExportError::Archive { path: path.to_owned(), source: Box::new(source) }
}

/// The entry of the layout's own index.
fn root(image: &Image) -> Descriptor {
    Descriptor { annotations: image.index_descriptor_annotations.clone(), ..image.root.clone() }
}

/// An archive holds everything, so base layers that are elsewhere have to come.
fn fetch_all(image: &Image, context: &ExportContext<'_>) -> Result<(), ExportError> {
    image.blobs().into_iter().try_for_each(|blob| layers::fetch(blob, context))
}
