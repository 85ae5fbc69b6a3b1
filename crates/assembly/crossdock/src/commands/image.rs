//! `crossdock image`: what the local store holds, by name.

use blobs::{BlobError, read_verified};
use oci::{Descriptor, Document, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use serde_json::{Value, json};
use store::Store;

use super::{lines, print, store_failure, table};
use crate::args::{Format, InspectArgs, ListArgs};
use crate::failure::Failure;
use crate::progress::size;
use crate::request::{UsageError, platforms, reference};
use crate::session::Session;

/// Documents larger than this are not read.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// One image of a name: for one platform.
pub(crate) struct PlatformImage {
    /// What its index or configuration says it runs on.
    pub(crate) platform: Option<Platform>,
    pub(crate) manifest: Descriptor,
    /// Its documents, where they are here.
    pub(crate) documents: Option<Documents>,
}

pub(crate) struct Documents {
    pub(crate) manifest: Document<Manifest>,
    pub(crate) config: Document<ImageConfig>,
}

impl PlatformImage {
    /// Bytes of its configuration and layers.
    fn size(&self) -> Option<u64> {
        let manifest = &self.documents.as_ref()?.manifest.value;
        Some(manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>())
    }

    fn platform_text(&self) -> String {
        self.platform.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
    }
}

/// What a name stands for.
pub(crate) fn lookup(store: &Store, name: &str) -> Result<(Reference, Descriptor), Failure> {
    let name = reference("image", name)?;
    match store.lookup(&name.to_string()).map_err(store_failure("look up a name"))? {
        Some(descriptor) => Ok((name, descriptor)),
        None => Err(no_such_image(store, &name)),
    }
}

fn no_such_image(store: &Store, name: &Reference) -> Failure {
    let names: Vec<String> =
        store.names().unwrap_or_default().into_iter().map(|entry| familiar(&entry.name)).collect();
    let hint = report::did_you_mean(&name.familiar(), names.iter().map(String::as_str))
        .map_or_else(
            || "`crossdock image ls` lists the names".to_owned(),
            |guess| format!("did you mean {guess}?"),
        );
    Failure::hint(format!("there is no image `{}` in the local store", name.familiar()), hint)
}

/// A stored name as people write it.
fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// The images beneath a descriptor, without attestations; one whose documents are not here is listed all the same.
pub(crate) fn images_of(
    store: &Store,
    descriptor: &Descriptor,
) -> Result<Vec<PlatformImage>, Failure> {
    if !media_type::is_index(&descriptor.media_type) {
        return Ok(vec![image_of(store, descriptor)?]);
    }
    let index: Document<Index> = read(store, descriptor, "image index")?;
    let is_image = |child: &&Descriptor| {
        child.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
    };
    index.value.manifests.iter().filter(is_image).map(|child| image_of(store, child)).collect()
}

fn image_of(store: &Store, manifest: &Descriptor) -> Result<PlatformImage, Failure> {
    let documents = documents(store, manifest)?;
    let from_config = || {
        let config = &documents.as_ref()?.config.value;
        let platform = Platform {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            os_features: config.os_features.clone(),
            variant: config.variant.clone(),
        };
        Some(platform.normalized())
    };
    let platform = manifest.platform.clone().or_else(from_config);
    Ok(PlatformImage { platform, manifest: manifest.clone(), documents })
}

fn documents(store: &Store, descriptor: &Descriptor) -> Result<Option<Documents>, Failure> {
    if store.blob_size(&descriptor.digest).is_none() {
        return Ok(None);
    }
    let manifest: Document<Manifest> = read(store, descriptor, "image manifest")?;
    if store.blob_size(&manifest.value.config.digest).is_none() {
        return Ok(None);
    }
    let config = read(store, &manifest.value.config, "image configuration")?;
    Ok(Some(Documents { manifest, config }))
}

fn read<T: serde::de::DeserializeOwned>(
    store: &Store,
    descriptor: &Descriptor,
    what: &'static str,
) -> Result<Document<T>, Failure> {
    let failed = |error: BlobError| {
        Failure::because(format!("cannot read {what} {}", descriptor.digest), error)
    };
    let bytes = read_verified(store, descriptor, DOCUMENT_LIMIT).map_err(failed)?;
    Document::parse(bytes, what).map_err(|error| {
        Failure::because(format!("cannot read {what} {}", descriptor.digest), error)
    })
}

/// `crossdock image ls`.
pub(crate) fn list(args: &ListArgs, session: &Session<'_>) -> Result<(), Failure> {
    let (store, _lease) = session.store()?;
    let mut rows = vec![["NAME", "PLATFORM", "DIGEST", "SIZE"].map(str::to_owned)];
    let mut entries = Vec::new();
    let mut digests = Vec::new();
    for entry in store.names().map_err(store_failure("list names"))? {
        let images = images_of(&store, &entry.descriptor).unwrap_or_default();
        let platforms: Vec<String> = images.iter().map(PlatformImage::platform_text).collect();
        let total: u64 = images.iter().filter_map(PlatformImage::size).sum();
        let digest = &entry.descriptor.digest;
        let shown = if args.digests { digest.to_string() } else { digest.short().to_owned() };
        rows.push([familiar(&entry.name), platforms.join(","), shown, size(total)]);
        entries.push(json!({ "name": entry.name, "digest": digest, "mediaType": entry.descriptor.media_type, "platforms": platforms, "size": total, "tagged": entry.tagged_ms / 1000 }));
        digests.push(digest.to_string());
    }
    match args.format {
        _ if args.quiet => print(&lines(digests)),
        Format::Table => print(&table(&rows)),
        Format::Json => print(&format!("{:#}\n", Value::Array(entries))),
    }
}

/// `crossdock image inspect`.
pub(crate) fn inspect(args: &InspectArgs, session: &Session<'_>) -> Result<(), Failure> {
    let (store, _lease) = session.store()?;
    let (name, descriptor) = lookup(&store, &args.image)?;
    let wanted = platforms("--platform", args.platform.as_deref())?.pop();
    let mut images = images_of(&store, &descriptor)?;
    let raw_descriptor = match &wanted {
        Some(wanted) => {
            let have: Vec<String> = images.iter().map(PlatformImage::platform_text).collect();
            images.retain(|image| {
                image.platform.as_ref().is_some_and(|platform| platform.satisfies(wanted))
            });
            let image = images.first().ok_or_else(|| {
                Failure::hint(
                    format!("{} has no image for {wanted}", name.familiar()),
                    format!("it has {}", have.join(", ")),
                )
            })?;
            image.manifest.clone()
        }
        None => descriptor.clone(),
    };
    if args.raw {
        let bytes = read_verified(&store, &raw_descriptor, DOCUMENT_LIMIT)
            .map_err(|error| Failure::because("cannot read the document", error))?;
        return super::print_bytes(&bytes);
    }
    if args.raw_config {
        return match images.as_slice() {
            [PlatformImage { documents: Some(documents), .. }] => {
                super::print_bytes(&documents.config.raw)
            }
            [_] => Err(Failure::hint(
                "its configuration is not in the local store",
                format!("fetch it with `crossdock pull {}`", name.familiar()),
            )),
            _ => Err(UsageError::new(
                "--raw-config needs a --platform: the image has several",
                "`crossdock image inspect` lists them",
            )
            .into()),
        };
    }
    let images: Vec<Value> = images.iter().map(|image| described(&store, image)).collect();
    let document = json!({ "name": name.to_string(), "digest": descriptor.digest, "mediaType": descriptor.media_type, "size": descriptor.size, "images": images });
    print(&format!("{document:#}\n"))
}

fn described(store: &Store, image: &PlatformImage) -> Value {
    let mut value = json!({ "platform": image.platform_text(), "digest": image.manifest.digest, "mediaType": image.manifest.media_type });
    let Some(fields) = value.as_object_mut() else { return value };
    if !image.manifest.annotations.is_empty() {
        fields.insert("descriptorAnnotations".to_owned(), json!(image.manifest.annotations));
    }
    if let Some(documents) = &image.documents {
        let manifest = &documents.manifest.value;
        let layers = manifest.layers.iter().map(|layer| {
            json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size, "local": store.blob_size(&layer.digest).is_some() })
        });
        fields.insert("annotations".to_owned(), json!(manifest.annotations));
        fields.insert("layers".to_owned(), layers.collect());
        fields.insert("imageId".to_owned(), json!(manifest.config.digest));
        fields.insert("config".to_owned(), json!(documents.config.value));
    } else {
        fields.insert("local".to_owned(), json!(false));
    }
    value
}

/// `crossdock image rm`.
pub(crate) fn remove(names: &[String], session: &Session<'_>) -> Result<(), Failure> {
    let (store, _lease) = session.store()?;
    let found = names.iter().map(|name| lookup(&store, name)).collect::<Result<Vec<_>, _>>()?;
    for (name, _) in found {
        store.untag(&name.to_string()).map_err(store_failure("remove a name"))?;
        print(&format!("removed {}\n", name.familiar()))?;
    }
    Ok(())
}

/// `crossdock image tag`.
pub(crate) fn tag(image: &str, names: &[String], session: &Session<'_>) -> Result<(), Failure> {
    let (store, _lease) = session.store()?;
    let (_, descriptor) = lookup(&store, image)?;
    let names = names.iter().map(|name| reference("name", name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
        return Err(UsageError::new(
            format!("`{name}` has a digest"),
            "a name in the store has a tag only",
        )
        .into());
    }
    let tags: Vec<_> = names.iter().map(|name| (name.to_string(), descriptor.clone())).collect();
    store.tag_all(&tags).map_err(store_failure("give an image a name"))
}
