//! Which annotations go on which document.

use std::collections::BTreeMap;

use build_api::{Annotation, AnnotationLevel, ImageOutput};
use oci::Platform;

use crate::{ExportError, ExportInput};

/// An annotation of an index needs an index.
pub(crate) fn check(input: &ExportInput, output: &ImageOutput) -> Result<(), ExportError> {
    if input.platforms.len() != 1 || input.always_index {
        return Ok(());
    }
    let misplaced =
        all(input, output).find(|annotation| annotation.level != AnnotationLevel::Manifest);
    misplaced.map_or(Ok(()), |annotation| Err(ExportError::IndexAnnotation(annotation.key.clone())))
}

pub(crate) fn any(input: &ExportInput, output: &ImageOutput) -> bool {
    all(input, output).next().is_some()
}

fn all<'a>(
    input: &'a ExportInput,
    output: &'a ImageOutput,
) -> impl Iterator<Item = &'a Annotation> {
    input.annotations.iter().chain(&output.annotations)
}

/// The annotations of one document. Those for one platform win over those for all, later ones over earlier ones.
pub(crate) fn of(
    input: &ExportInput,
    output: &ImageOutput,
    level: AnnotationLevel,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for specific in [false, true] {
        for annotation in all(input, output).filter(|annotation| annotation.level == level) {
            let fits = match (&annotation.platform, platform) {
                (None, _) => !specific,
                (Some(wanted), Some(platform)) => specific && same(wanted, platform),
                (Some(_), None) => false,
            };
            if fits {
                found.insert(annotation.key.clone(), annotation.value.clone());
            }
        }
    }
    found
}

/// A platform given without a version of its system means every version.
fn same(wanted: &Platform, platform: &Platform) -> bool {
    let (wanted, platform) = (wanted.clone().normalized(), platform.clone().normalized());
    wanted.os == platform.os
        && wanted.architecture == platform.architecture
        && wanted.variant == platform.variant
        && platform.os_version.starts_with(&wanted.os_version)
}
