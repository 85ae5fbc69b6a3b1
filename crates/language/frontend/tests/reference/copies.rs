//! What ADD and COPY say in detail.

use llb::pb::op::Kind;

use crate::support::{build, copies, copy, options, sources, told_of, vertices};

#[test]
fn chmod_is_octal_or_symbolic_and_takes_variables() {
    assert_eq!(copy("COPY --chmod=0640 a b").mode, 0o640);
    let symbolic = copy("ARG M=u=rwX,go=rX\nCOPY --chmod=$M a b");
    assert_eq!((symbolic.mode, symbolic.mode_str.as_str()), (0, "u=rwX,go=rX"));
    assert_eq!(copy("ENV M=7\nCOPY --chmod=${M}55 a b").mode, 0o755);
    for wrong in ["999", "10000", "rwx", "u=q"] {
        let told = told_of(&format!("COPY --chmod={wrong} a b"));
        assert!(told.contains("invalid chmod parameter"), "{wrong}: {told}");
    }
}

#[test]
fn chown_is_names_or_ids_of_the_target_stage() {
    use llb::pb::user_opt::User;
    let owner = copy("ARG U=me\nCOPY --chown=$U:7 a b").owner.unwrap();
    let user = |it: Option<llb::pb::UserOpt>| it.and_then(|it| it.user).unwrap();
    let User::ByName(named) = user(owner.user) else { panic!("a name is looked up") };
    assert_eq!((named.name.as_str(), named.input), ("me", 0), "in the stage that is copied to");
    assert!(matches!(user(owner.group), User::ById(7)));
}

#[test]
fn link_makes_a_layer_that_does_not_depend_on_the_base() {
    let compiled = build(&options("FROM a\nCOPY --link a b\n"));
    let kinds = vertices(&compiled);
    assert!(kinds.iter().any(|(_, kind)| matches!(kind, Kind::Merge(_))));
    let copy = kinds.iter().find(|(_, kind)| matches!(kind, Kind::File(_))).unwrap();
    let Kind::File(file) = &copy.1 else { unreachable!() };
    assert_eq!(file.actions[0].input, -1, "from nothing, not from the base");
}

#[test]
fn parents_keeps_directories_after_the_pivot() {
    let it = copy("COPY --parents ./x/./y/**/*.c /d/");
    assert_eq!((it.src.as_str(), it.dest.as_str()), ("/x", "/d/"));
    assert_eq!(it.include_patterns, ["y/**/*.c"]);
    assert!(it.required_paths.is_empty(), "wildcards may match nothing");
    let it = copy("COPY --parents a/b /d/");
    assert_eq!(
        (it.include_patterns, it.required_paths),
        (vec!["a/b".to_owned()], vec!["/a/b".to_owned()])
    );
}

#[test]
fn exclude_may_be_given_several_times() {
    assert_eq!(copy("COPY --exclude=*.o --exclude=!x.o . /").exclude_patterns, ["*.o", "!x.o"]);
    assert_eq!(copy("ADD --exclude=*.o . /").exclude_patterns, ["*.o"]);
}

#[test]
fn unpack_is_on_for_local_archives_and_off_for_addresses() {
    for (line, unpack) in [
        ("ADD a.tar /", true),
        ("ADD --unpack=false a.tar /", false),
        ("ADD https://h/a.tar /", false),
        ("ADD --unpack=true https://h/a.tar /", true),
        ("COPY a.tar /", false),
    ] {
        assert_eq!(copy(line).attempt_unpack_docker_compatibility, unpack, "{line}");
    }
}

#[test]
fn sources_may_have_wildcards_and_destinations_a_slash() {
    let it = copy("WORKDIR /w\nCOPY x/*.[ch] d/");
    assert!(it.allow_wildcard && it.allow_empty_wildcard && it.dir_copy_contents);
    assert_eq!((it.src.as_str(), it.dest.as_str()), ("/x/*.[ch]", "/w/d/"));
    assert_eq!(copy("COPY x /d").dest, "/d");
    assert_eq!(copy("WORKDIR /w\nCOPY x .").dest, "/w/");
}

#[test]
fn add_of_an_address_keeps_the_file_as_it_is() {
    let compiled = build(&options("FROM scratch\nARG V=1\nADD https://h/v$V/a%20b.tgz?x=1 /t/n\n"));
    let source = &sources(&compiled)[0];
    assert_eq!(source.identifier, "https://h/v1/a%20b.tgz?x=1");
    assert_eq!(source.attr("http.filename"), Some("a b.tgz"));
    let it = &copies(&compiled)[0];
    assert_eq!((it.src.as_str(), it.dest.as_str()), ("/a b.tgz", "/t/n"));
    assert!(!it.attempt_unpack_docker_compatibility);
}

#[test]
fn add_checksum_of_an_address_is_a_digest() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!("FROM scratch\nARG S={digest}\nADD --checksum=$S https://h/a /\n");
    assert_eq!(sources(&build(&options(&text)))[0].attr("http.checksum"), Some(digest));
    for (line, told) in [
        ("ADD --checksum=sha256:12 https://h/a /", "invalid checksum"),
        ("ADD --checksum=sha256:12 a /", "checksum requires HTTP(S) or Git sources"),
        (
            "ADD --checksum=abcd https://h/a https://h/b /",
            "checksum can't be specified for multiple",
        ),
        ("COPY --checksum=abcd a /", "unknown flag: --checksum"),
    ] {
        let all = told_of(line);
        assert!(all.contains(told), "{line}: {all}");
    }
}

#[test]
fn here_documents_are_files_of_mode_0644_named_by_their_delimiter() {
    let compiled =
        build(&options("FROM scratch\nARG V=1\nCOPY <<a <<-'b' /d/\nx$V\na\n\tx$V\nb\n"));
    let made: Vec<_> = crate::support::actions(&compiled)
        .into_iter()
        .filter_map(|action| match action {
            llb::pb::file_action::Action::Mkfile(file) => Some((file.path, file.mode, file.data)),
            _ => None,
        })
        .collect();
    assert_eq!(
        made,
        [("/a".to_owned(), 0o644, b"x1\n".to_vec()), ("/b".to_owned(), 0o644, b"x$V\n".to_vec())]
    );
}
