//! Images survive every kind of archive, and archives are the same each time.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::io::Read;
use std::path::Path;

use archive::{
    ArchiveError, DockerArchive, Image, ImageArchive, OciLayout, write_docker_tar,
    write_oci_layout, write_oci_tar,
};
use blobs::{BlobReader, MemoryBlobs, read_verified};
use layer::tar::{Header, MemberKind, Writer};
use oci::{Descriptor, Digest, Document, ImageConfig, Index, Manifest, RootFs, media_type};
use std::io::Write;

/// Two layers, one plain and one gzip, and the manifest over them.
fn image(blobs: &MemoryBlobs) -> Descriptor {
    let plain = vec![7; 70_000];
    let mut gzip = Vec::new();
    let packed =
        layer::pack(&fstree::Changeset::new(), &layer::PackOptions::default(), &mut gzip).unwrap();
    let layers = vec![
        Descriptor::of(media_type::OCI_LAYER, &plain),
        Descriptor::of(media_type::OCI_LAYER_GZIP, &gzip),
    ];
    let rootfs = RootFs { diff_ids: vec![Digest::of(&plain), packed.diff_id], ..RootFs::default() };
    let config = Document::write(ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        rootfs,
        ..ImageConfig::default()
    });
    let manifest =
        Document::write(Manifest::new(config.descriptor(media_type::OCI_CONFIG), layers));
    blobs.add(plain);
    blobs.add(gzip);
    blobs.add(config.raw);
    let root = Descriptor::of(media_type::OCI_MANIFEST, &manifest.raw);
    blobs.add(manifest.raw);
    root
}

/// Every blob of an image is there and undamaged.
fn assert_whole(root: &Descriptor, blobs: &dyn BlobReader) {
    let bytes = read_verified(blobs, root, 1 << 20).unwrap();
    if media_type::is_index(&root.media_type) {
        let index = Document::<Index>::parse(bytes, "index").unwrap();
        return index.value.manifests.iter().for_each(|child| assert_whole(child, blobs));
    }
    let manifest = Document::<Manifest>::parse(bytes, "manifest").unwrap().value;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        read_verified(blobs, blob, 1 << 20).unwrap();
    }
}

fn save(path: &Path, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    fs_err::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn a_layout_directory_keeps_its_other_images() {
    let blobs = MemoryBlobs::default();
    let root = image(&blobs);
    let index = Document::write(Index::new(vec![root.clone()]));
    let multi = Descriptor::of(media_type::OCI_INDEX, &index.raw);
    blobs.add(index.raw);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layout");
    write_oci_layout(&path, Image { root: &root, names: &["example.com/a:1".into()] }, &blobs)
        .unwrap();
    write_oci_layout(&path, Image { root: &multi, names: &["example.com/b:2".into()] }, &blobs)
        .unwrap();
    write_oci_layout(&path, Image { root: &multi, names: &["example.com/a:1".into()] }, &blobs)
        .unwrap();

    let layout = OciLayout::open(&path).unwrap();
    assert_eq!(layout.entries().len(), 2);
    assert_eq!(layout.find(Some("1"), None).unwrap().digest, multi.digest);
    assert!(layout.find(Some("3"), None).is_none());
    assert_eq!(layout.images()[0].names, ["example.com/b:2", "example.com/a:1"]);
    assert_whole(&multi, &layout);
}

#[test]
fn a_layout_tar_is_the_same_each_time_and_readable() {
    let blobs = MemoryBlobs::default();
    let root = image(&blobs);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tar");
    let names = ["example.com/a:1".to_owned(), "example.com/a:2".to_owned()];
    let images = [Image { root: &root, names: &names }];
    let first = save(&path, |out| write_oci_tar(out, &images, &blobs).unwrap());
    let second = save(&path, |out| write_oci_tar(out, &images, &blobs).unwrap());
    assert!(first == second);
    let layout = archive::open(&path).unwrap();
    assert_eq!(layout.images().len(), 1);
    assert_eq!(layout.images()[0].names, names);
    assert_whole(&root, &*layout);
}

#[test]
fn what_docker_loads_is_also_a_layout() {
    let blobs = MemoryBlobs::default();
    let root = image(&blobs);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tar");
    let names = ["docker.io/library/a:1".to_owned()];
    save(&path, |out| {
        write_docker_tar(out, &[Image { root: &root, names: &names }], &blobs).unwrap();
    });

    let docker = DockerArchive::open(&path).unwrap();
    assert_eq!(
        docker.images(),
        [archive::ArchivedImage { root: root.clone(), names: vec!["a:1".into()] }]
    );
    assert_whole(&root, &docker);
    assert_whole(&root, &OciLayout::open(&path).unwrap());
    let index = Document::write(Index::new(vec![root]));
    let multi = Descriptor::of(media_type::OCI_INDEX, &index.raw);
    blobs.add(index.raw);
    let refused = write_docker_tar(std::io::sink(), &[Image { root: &multi, names: &[] }], &blobs);
    assert!(matches!(refused, Err(ArchiveError::Unfit(_))));
}

#[test]
fn old_docker_archives_link_equal_layers() {
    let layer = vec![0; 1024];
    let rootfs =
        RootFs { diff_ids: vec![Digest::of(&layer), Digest::of(&layer)], ..RootFs::default() };
    let config =
        Document::write(ImageConfig { os: "linux".into(), rootfs, ..ImageConfig::default() });
    let list = br#"[{"Config":"c.json","RepoTags":null,"Layers":["1/layer.tar","2/layer.tar"]}]"#;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tar");
    let mut tar = Writer::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new(name, MemberKind::File);
        header.size = bytes.len() as u64;
        tar.start(&header).unwrap();
        tar.write_all(bytes).unwrap();
    };
    add("1/layer.tar", &layer);
    add("c.json", &config.raw);
    add("manifest.json", list);
    let mut link = Header::new("2/layer.tar", MemberKind::Symlink);
    link.link = b"../1/layer.tar".to_vec();
    tar.start(&link).unwrap();
    fs_err::write(&path, tar.finish().unwrap()).unwrap();

    let archive = archive::open(&path).unwrap();
    assert_whole(&archive.images()[0].root, &*archive);
}

/// Cuts off layers.
struct Damaged<'a>(&'a MemoryBlobs);
impl BlobReader for Damaged<'_> {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, blobs::BlobError> {
        let reader = self.0.open(blob)?;
        if media_type::is_layer(&blob.media_type) {
            Ok(Box::new(reader.take(10)))
        } else {
            Ok(reader)
        }
    }
}

#[test]
fn damaged_blobs_are_not_written() {
    let blobs = MemoryBlobs::default();
    let root = image(&blobs);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("layout");
    let error =
        write_oci_layout(&path, Image { root: &root, names: &[] }, &Damaged(&blobs)).unwrap_err();
    assert!(matches!(error, ArchiveError::Blob(blobs::BlobError::Mismatch { .. })), "{error:?}");
    assert!(!path.join("index.json").exists());
    for entry in fs_err::read_dir(path.join("blobs/sha256")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left behind");
    }
    assert!(
        write_oci_tar(std::io::sink(), &[Image { root: &root, names: &[] }], &Damaged(&blobs))
            .is_err()
    );
}

#[test]
fn what_is_no_archive_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let open = |bytes: &[u8]| {
        fs_err::write(&path, bytes).unwrap();
        archive::open(&path).map(|_| ()).unwrap_err()
    };
    assert!(matches!(open(b"hello"), ArchiveError::Read { .. }));
    assert!(matches!(open(&[0; 1024]), ArchiveError::Absent { .. }));
    assert!(matches!(open(&[0x1f, 0x8b, 8, 0]), ArchiveError::Compressed { .. }));
    let blobs = MemoryBlobs::default();
    let root = image(&blobs);
    let mut whole = Vec::new();
    write_oci_tar(&mut whole, &[Image { root: &root, names: &[] }], &blobs).unwrap();
    for end in (0..whole.len()).step_by(512) {
        fs_err::write(&path, &whole[..end]).unwrap();
        // Without the second of the two empty blocks at the end nothing is missing.
        assert_eq!(
            archive::open(&path).is_ok(),
            end >= whole.len() - 512,
            "cut at {end} of {}",
            whole.len()
        );
    }
    let mut gzip = Vec::new();
    layer::recompress(&*whole, &layer::PackOptions::default(), u64::MAX, &mut gzip).unwrap();
    let plain = directory.path().join("plain");
    archive::spool(&*gzip, &plain, 1 << 30).unwrap();
    assert!(archive::open(&plain).is_ok());
}
