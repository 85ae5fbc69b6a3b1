use prost::Message as _;

use super::*;
use crate::pb::{FileActionCopy, FileActionMkDir, SourceOp};

fn image() -> SourceOp {
    SourceOp { identifier: "docker-image://docker.io/library/a:1".to_owned(), attrs: Vec::new() }
}

fn mkdir(path: &str) -> FileAction {
    FileAction::Mkdir(FileActionMkDir {
        path: path.to_owned(),
        mode: 0o755,
        make_parents: true,
        owner: None,
        timestamp: -1,
    })
}

#[test]
fn a_vertex_has_the_digest_it_has_in_buildkit() {
    let mut graph = Graph::default();
    let made = graph.file(None, vec![mkdir("/app")], Metadata::default());
    let definition = graph.definition(Some(made));
    // Recorded from the provenance of a build by Docker Engine 28.5.
    assert_eq!(
        definition.head().unwrap().as_str(),
        "sha256:5f4833fdb01140e6ec0fb6267307e1b537a3332d079c071dc1b0006fc7d2de87"
    );
}

#[test]
fn empty_values_of_maps_are_written() {
    let mut source = image();
    source.identifier.clear();
    source.set_attr("b", "");
    source.set_attr("a", "1");
    source.set_attr("b", "");
    assert_eq!(source.encode_to_vec(), b"\x12\x06\x0a\x01a\x12\x011\x12\x05\x0a\x01b\x12\x00");
    assert_eq!((source.attr("a"), source.attr("b"), source.attr("c")), (Some("1"), Some(""), None));
}

#[test]
fn equal_operations_are_one_vertex() {
    let mut graph = Graph::default();
    let platform = oci::Platform::new("linux", "amd64");
    let one = graph.source(image(), Some(&platform), Metadata::named("one"));
    let two = graph.source(image(), Some(&platform), Metadata::named("two"));
    assert_eq!(one, two);
    let other = oci::Platform::new("linux", "arm64");
    assert_ne!(one, graph.source(image(), Some(&other), Metadata::default()));
    let a = graph.file(Some(one), vec![mkdir("/a")], Metadata::default());
    let b = graph.file(Some(two), vec![mkdir("/a")], Metadata::default());
    let merged = graph.merge([None, Some(a), Some(b)], Metadata::default());
    let resolved = graph.definition(merged).resolve().unwrap();
    assert_eq!(resolved.vertices.len(), 3);
    assert_eq!(resolved.vertices[2].inputs, [Edge { vertex: 1, output: 0 }; 2]);
    assert_eq!(resolved.vertices[0].name(), Some("two"));
}

#[test]
fn nothing_merged_and_diffed_is_nothing() {
    let mut graph = Graph::default();
    let a = graph.file(None, vec![mkdir("/a")], Metadata::default());
    assert_eq!(graph.merge([None, None], Metadata::default()), None);
    assert_eq!(graph.merge([None, Some(a)], Metadata::default()), Some(a));
    assert_eq!(graph.diff(None, Some(a), Metadata::default()), Some(a));
    assert!(graph.diff(Some(a), None, Metadata::default()).is_some());
    assert!(graph.definition(None).resolve().unwrap().result.is_none());
}

#[test]
fn inputs_are_numbered_through_actions() {
    let mut graph = Graph::default();
    let context = graph.source(
        SourceOp { identifier: "local://context".to_owned(), attrs: Vec::new() },
        None,
        Metadata::default(),
    );
    let copy = |src: &str| FileAction::Copy {
        from: Some(context),
        copy: FileActionCopy { src: src.to_owned(), ..FileActionCopy::default() },
    };
    let base = graph.file(None, vec![mkdir("/b")], Metadata::default());
    let both = graph.file(Some(base), vec![copy("/x"), copy("/y")], Metadata::default());
    graph.set_source_attr(context, attr::FOLLOW_PATHS, "[\"x\",\"y\"]");
    let resolved = graph.definition(Some(both)).resolve().unwrap();
    let pb::op::Kind::File(file) = resolved.vertices[2].kind() else { panic!() };
    let numbers: Vec<_> = file
        .actions
        .iter()
        .map(|action| (action.input, action.secondary_input, action.output))
        .collect();
    assert_eq!(numbers, [(0, 1, -1), (2, 1, 0)]);
    let pb::op::Kind::Source(source) = resolved.vertices[1].kind() else { panic!() };
    assert_eq!(source.attr(attr::FOLLOW_PATHS), Some("[\"x\",\"y\"]"));
}

#[test]
fn a_definition_survives_the_wire() {
    let mut graph = Graph::new(Some(SourceFile {
        name: "Dockerfile".to_owned(),
        data: b"FROM a".to_vec(),
        language: "Dockerfile".to_owned(),
    }));
    let place = pb::Position { line: 1, character: 0 };
    let range = pb::Range { start: Some(place), end: Some(place) };
    let source = graph.source(image(), None, Metadata::named("a").at(vec![range]));
    let definition = graph.definition(Some(source));
    let decoded = Definition::decode(&definition.encode()).unwrap();
    assert_eq!(decoded, definition);
    assert_eq!(decoded.resolve().unwrap().vertices[0].locations[0].ranges, [range]);
}

#[test]
fn bad_definitions_are_refused() {
    let missing = pb::Op {
        inputs: vec![pb::Input { digest: "sha256:00".to_owned(), index: 0 }],
        op: Some(pb::op::Kind::Merge(pb::MergeOp::default())),
        ..pb::Op::default()
    };
    let of = |ops: Vec<pb::Op>| {
        let def = ops.iter().map(pb::Op::to_bytes).collect();
        Definition::from(pb::Definition { def, ..pb::Definition::default() }).resolve()
    };
    let terminal = pb::Op::default();
    assert!(matches!(
        of(vec![missing, terminal.clone()]),
        Err(DefinitionError::UnknownInput { .. })
    ));
    assert!(matches!(of(vec![terminal.clone()]), Err(DefinitionError::NoResult)));
    let unknown = of(vec![terminal.clone(), terminal.clone()]);
    assert!(matches!(unknown, Err(DefinitionError::UnknownOperation(_))));
    let outside = pb::Op {
        op: Some(pb::op::Kind::Merge(pb::MergeOp { inputs: vec![pb::InputRef { input: 3 }] })),
        ..pb::Op::default()
    };
    assert!(matches!(of(vec![outside, terminal]), Err(DefinitionError::BadIndex { .. })));
    assert!(matches!(Definition::decode(b"\xff\xff"), Err(DefinitionError::Malformed { .. })));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        if let Ok(definition) = Definition::decode(&bytes) {
            drop(definition.resolve());
        }
        drop(pb::Op::decode(bytes.as_slice()));
    }
}
