use std::path::PathBuf;

use archive::OciLayout;
use oci::{Descriptor, Digest};

use crate::ImageError;
use crate::image::malformed;

/// Which image of an OCI layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayoutRef {
    /// Directory, or tar file.
    pub path: PathBuf,
    /// By `org.opencontainers.image.ref.name`.
    pub tag: Option<String>,
    /// By digest.
    pub digest: Option<Digest>,
}

impl LayoutRef {
    /// The layout, and the entry that is meant.
    pub(crate) fn open(&self) -> Result<(OciLayout, Descriptor), ImageError> {
        let name = self.path.display().to_string();
        let layout = OciLayout::open(&self.path).map_err(|source| ImageError::Layout {
            image: name.clone(),
            source: Box::new(source),
        })?;
        let entry = layout.find(self.tag.as_deref(), self.digest.as_ref()).cloned();
        let entry = entry.ok_or_else(|| {
            let tags = layout
                .entries()
                .iter()
                .filter_map(|it| it.annotations.get("org.opencontainers.image.ref.name"));
            let tags: Vec<&str> = tags.map(String::as_str).collect();
            let asked = match (&self.tag, &self.digest) {
                (Some(tag), _) => format!("no image tagged `{tag}`"),
                (None, Some(digest)) => format!("no image {digest}"),
                (None, None) => {
                    "more than one image, or none; name one by tag or digest".to_owned()
                }
            };
            malformed(
                &name,
                &format!(
                    "it has {asked}; tags: {}",
                    if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }
                ),
            )
        })?;
        Ok((layout, entry))
    }
}
