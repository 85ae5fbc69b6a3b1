use std::cmp::Reverse;
use std::collections::BTreeMap;

use oci::{Descriptor, Document, Index};

use crate::convert::{Flavour, convert_index};

/// Makes an index of images, the same bytes for the same images in whatever order they come.
///
/// Linux images come first, by platform; then other systems. Windows images of one architecture come newest build
/// first, because clients that know no order of versions take the first that fits. An image given twice is kept once.
pub fn assemble(
    manifests: impl IntoIterator<Item = Descriptor>,
    annotations: &BTreeMap<String, String>,
    flavour: Flavour,
) -> Document<Index> {
    let mut manifests: Vec<Descriptor> = manifests.into_iter().collect();
    manifests.sort_by_cached_key(|it| {
        let platform = it.platform.clone().unwrap_or_default();
        let version: Vec<u64> =
            platform.os_version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
        let architecture = (platform.architecture, platform.variant);
        (
            it.platform.is_none(),
            platform.os != "linux",
            platform.os,
            architecture,
            Reverse(version),
            it.digest.clone(),
        )
    });
    manifests.dedup();
    let mut index = Index::new(manifests);
    index.annotations = annotations.clone();
    Document::write(convert_index(index, flavour))
}

#[cfg(test)]
mod tests {
    use oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_MANIFEST};

    use super::*;

    #[test]
    fn the_order_of_the_images_does_not_matter() {
        let entry = |text: &str| Descriptor {
            platform: Some(text.parse().unwrap()),
            ..Descriptor::of(OCI_MANIFEST, text.as_bytes())
        };
        let order = [
            "linux/amd64",
            "linux/arm/v7",
            "linux/arm64",
            "linux/riscv64",
            "windows(10.0.26100.1)/amd64",
            "windows(10.0.20348.2227)/amd64",
            "windows(10.0.17763.1)/amd64",
        ];
        let sorted = assemble(order.map(entry), &BTreeMap::new(), Flavour::Oci);
        let mut shuffled: Vec<Descriptor> = order.map(entry).to_vec();
        shuffled.rotate_left(3);
        shuffled.push(entry("linux/arm64"));
        let other = assemble(shuffled, &BTreeMap::new(), Flavour::Oci);
        assert_eq!(sorted.raw, other.raw);
        let found: Vec<String> = sorted
            .value
            .manifests
            .iter()
            .filter_map(|it| it.platform.as_ref())
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, order);
    }

    #[test]
    fn a_docker_list_has_dockers_types() {
        let index =
            assemble([Descriptor::of(OCI_MANIFEST, b"a")], &BTreeMap::new(), Flavour::Docker);
        assert_eq!(index.value.media_type, DOCKER_INDEX);
        assert_eq!(
            index.value.manifests.first().map(|it| it.media_type.as_str()),
            Some(DOCKER_MANIFEST)
        );
    }
}
