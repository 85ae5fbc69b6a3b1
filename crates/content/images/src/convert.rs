use oci::media_type::{
    DOCKER_CONFIG, DOCKER_INDEX, DOCKER_LAYER, DOCKER_LAYER_FOREIGN_GZIP, DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_LAYER_FOREIGN_GZIP,
    OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST,
};
use oci::{Index, Manifest};

/// Whose media types a document uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// OCI image specification.
    #[default]
    Oci,
    /// Docker's schema 2.
    Docker,
}

/// Pairs that mean the same bytes.
const PAIRS: [(&str, &str); 7] = [
    (OCI_MANIFEST, DOCKER_MANIFEST),
    (OCI_INDEX, DOCKER_INDEX),
    (OCI_CONFIG, DOCKER_CONFIG),
    (OCI_LAYER, DOCKER_LAYER),
    (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
    (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD),
    (OCI_LAYER_FOREIGN_GZIP, DOCKER_LAYER_FOREIGN_GZIP),
];

/// The name of a media type in the other family, or itself where it has none there.
pub fn media_type_in(flavour: Flavour, media_type: &str) -> &str {
    let pair = PAIRS.iter().find(|(oci, docker)| *oci == media_type || *docker == media_type);
    pair.map_or(media_type, |(oci, docker)| match flavour {
        Flavour::Oci => oci,
        Flavour::Docker => docker,
    })
}

/// The same manifest with media types of one family. Docker's form has no annotations of its own, artifact type or
/// subject; they are left out.
#[must_use]
pub fn convert_manifest(mut manifest: Manifest, flavour: Flavour) -> Manifest {
    media_type_in(flavour, OCI_MANIFEST).clone_into(&mut manifest.media_type);
    for descriptor in std::iter::once(&mut manifest.config).chain(&mut manifest.layers) {
        descriptor.media_type = media_type_in(flavour, &descriptor.media_type).to_owned();
    }
    if flavour == Flavour::Docker {
        manifest.annotations.clear();
        (manifest.artifact_type, manifest.subject) = (None, None);
    }
    manifest
}

/// The same index with media types of one family; those of its entries only make sense when the manifests they name are
/// converted too.
#[must_use]
pub fn convert_index(mut index: Index, flavour: Flavour) -> Index {
    media_type_in(flavour, OCI_INDEX).clone_into(&mut index.media_type);
    if flavour == Flavour::Docker {
        for entry in &mut index.manifests {
            entry.media_type = media_type_in(flavour, &entry.media_type).to_owned();
            entry.annotations.clear();
        }
        index.annotations.clear();
        (index.artifact_type, index.subject) = (None, None);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Descriptor;

    #[test]
    fn there_and_back_is_the_same() {
        for (oci, docker) in PAIRS {
            assert_eq!(media_type_in(Flavour::Docker, oci), docker);
            assert_eq!(media_type_in(Flavour::Oci, docker), oci);
            assert_eq!(media_type_in(Flavour::Oci, oci), oci);
        }
        let manifest = Manifest::new(
            Descriptor::of(OCI_CONFIG, b"c"),
            vec![Descriptor::of(OCI_LAYER_GZIP, b"l")],
        );
        let docker = convert_manifest(manifest.clone(), Flavour::Docker);
        assert_eq!(docker.layers.first().map(|it| it.media_type.as_str()), Some(DOCKER_LAYER_GZIP));
        assert_eq!(convert_manifest(docker, Flavour::Oci), manifest);
        assert_eq!(
            media_type_in(Flavour::Docker, "application/vnd.in-toto+json"),
            "application/vnd.in-toto+json"
        );
    }
}
