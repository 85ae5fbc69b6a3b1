use std::path::Path;
use std::str::FromStr;

use llb::GitSource;
use oci::{Digest, ImageConfig, Platform, Reference};
use registry::Challenge;

/// What is read as a reference is the same when it is written and read again.
pub(crate) fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = Reference::from_str(&text) {
        let written = read.to_string();
        assert_eq!(Reference::from_str(&written).expect("its own form"), read);
        assert!(!read.registry().is_empty() && !read.repository().is_empty());
    }
    if let Ok(digest) = Digest::from_str(&text) {
        assert_eq!(digest.to_string(), text);
    }
}

/// The same for platforms.
pub(crate) fn platform(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = Platform::from_str(&text) {
        let written = read.to_string();
        assert_eq!(Platform::from_str(&written).expect("its own form"), read);
        assert!(!read.file_name().contains('/'));
    }
}

/// Configurations are read or refused.
pub(crate) fn document(data: &[u8]) {
    let _ = serde_json::from_slice::<ImageConfig>(data);
    let _ = oci::identify(data, None);
}

/// Definitions are read or refused, and those that are accepted are the same when written and read again.
pub(crate) fn definition(data: &[u8]) {
    let Ok(read) = llb::Definition::decode(data) else { return };
    let _ = read.head();
    if let Ok(resolved) = read.resolve() {
        for (index, vertex) in resolved.vertices.iter().enumerate() {
            assert!(vertex.inputs.iter().all(|input| input.vertex < index));
        }
        let again = llb::Definition::decode(&read.encode()).expect("its own form");
        assert_eq!(again.head(), read.head());
    }
}

/// Docker's configuration is read or refused.
pub(crate) fn docker_config(data: &[u8]) {
    let _ = registry::DockerConfig::parse(Path::new("config.json"), data);
}

/// What a registry asks for is read to its end, and is no more than the line has.
pub(crate) fn challenge(data: &[u8]) {
    let Ok(line) = str::from_utf8(data) else { return };
    for found in Challenge::parse(line) {
        if let Challenge::Bearer { realm, service, scope } = found {
            let values = [Some(realm), service, scope];
            assert!(values.iter().flatten().all(|value| value.len() <= line.len()));
        }
    }
}

/// What an address of a repository says survives the way through a definition.
pub(crate) fn git(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some(Ok(source)) = GitSource::parse(text) else { return };
    let op = source.to_op();
    if let Some(back) = GitSource::from_op(&op) {
        assert_eq!(back.to_op(), op);
    }
}
