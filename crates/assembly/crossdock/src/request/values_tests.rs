use super::*;
use crate::request::build::tests::surroundings;

type Test = Result<(), UsageError>;

#[test]
fn platforms_come_as_lists_and_repeated_and_each_once() -> Test {
    let platforms =
        platforms("--platform", ["linux/amd64, linux/arm64/v8", "linux/aarch64,windows/amd64"])?;
    let texts: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["linux/amd64", "linux/arm64", "windows/amd64"]);
    assert!(super::platforms("--platform", ["linux/amd64,"]).is_err());
    assert!(super::platforms("--platform", ["lunix"]).is_err());
    assert_eq!(super::platforms("--platform", ["local"])?, [Platform::host()]);
    Ok(())
}

#[test]
fn hosts_are_written_in_two_ways() -> Test {
    let pair = |host: &str, address: &str| (host.to_owned(), address.to_owned());
    let around = surroundings(&[]);
    let add_host = |text: &str| add_host(text, &around.borrow());
    assert_eq!(add_host("db:10.0.0.1")?, pair("db", "10.0.0.1"));
    assert_eq!(add_host("db=::1")?, pair("db", "::1"));
    assert_eq!(add_host("db:[2001:db8::1]")?, pair("db", "2001:db8::1"));
    assert_eq!(add_host("here:host-gateway")?, pair("here", "192.0.2.7"));
    for text in ["db", "db:", ":1.2.3.4", "db:1.2.3", "a b:1.2.3.4", "a\nb:1.2.3.4"] {
        assert!(add_host(text).is_err(), "{text}");
    }
    Ok(())
}

#[test]
fn limits_have_a_soft_and_a_hard_side() -> Test {
    assert_eq!(
        ulimit("nofile=1024:4096")?,
        Ulimit { name: "nofile".into(), soft: 1024, hard: 4096 }
    );
    assert_eq!(ulimit("core=-1")?, Ulimit { name: "core".into(), soft: -1, hard: -1 });
    assert_eq!(ulimit("core=0:-1")?, Ulimit { name: "core".into(), soft: 0, hard: -1 });
    for text in
        ["nofile", "nofiles=1", "nofile=2:1", "nofile=-1:5", "nofile=x", "nofile=-2", "nofile="]
    {
        assert!(ulimit(text).is_err(), "{text}");
    }
    assert_eq!(
        ulimit("nofiles=1").err().and_then(|error| error.hint).as_deref(),
        Some("did you mean nofile?")
    );
    Ok(())
}

#[test]
fn annotations_say_where_they_go() -> Test {
    let one = annotations("org.example.key=a=b")?;
    assert_eq!(
        one,
        [Annotation {
            level: AnnotationLevel::Manifest,
            platform: None,
            key: "org.example.key".into(),
            value: "a=b".into()
        }]
    );
    let two = annotations("index,manifest[linux/arm64]:k=v")?;
    assert_eq!(two.len(), 2);
    assert_eq!(two[0].level, AnnotationLevel::Index);
    assert_eq!(two[1].platform.as_ref().map(ToString::to_string).as_deref(), Some("linux/arm64"));
    for text in [
        "k",
        "=v",
        "nowhere:k=v",
        "manifest[linux/arm64:k=v",
        "manifest:=v",
        "index[linux/arm64]:k=v",
        "manifest[nonsense]:k=v",
    ] {
        assert!(annotations(text).is_err(), "{text}");
    }
    Ok(())
}

#[test]
fn annotations_of_an_output_have_the_place_in_the_key() -> Test {
    let plain = output_annotation("-o", "annotation.org.example.a", "1")?;
    assert_eq!(
        plain,
        Some(Annotation {
            level: AnnotationLevel::Manifest,
            platform: None,
            key: "org.example.a".into(),
            value: "1".into()
        })
    );
    let placed = output_annotation("-o", "annotation-manifest-descriptor[linux/arm/v7].x.y", "1")?;
    assert_eq!(
        placed.as_ref().map(|annotation| (annotation.level, annotation.key.as_str())),
        Some((AnnotationLevel::ManifestDescriptor, "x.y"))
    );
    assert_eq!(output_annotation("-o", "annotations", "1")?, None);
    assert_eq!(output_annotation("-o", "dest", "1")?, None);
    for key in [
        "annotation-",
        "annotation.",
        "annotation-index",
        "annotation[linux/arm64]",
        "annotation-x.y",
    ] {
        assert!(output_annotation("-o", key, "1").is_err(), "{key}");
    }
    Ok(())
}

#[test]
fn secrets_come_from_files_or_the_environment() -> Test {
    let around = surroundings(&[("TOKEN", "s3cret")]);
    let parse = |text: &str| secret(text, &around.borrow());
    assert_eq!(parse("id=a,src=/etc/a")?, ("a".into(), SecretSource::File("/etc/a".into())));
    assert_eq!(parse("id=a,env=TOKEN")?, ("a".into(), SecretSource::Value(b"s3cret".to_vec())));
    assert_eq!(parse("type=env,id=a,src=TOKEN")?.1, SecretSource::Value(b"s3cret".to_vec()));
    assert_eq!(parse("id=TOKEN")?.1, SecretSource::Value(b"s3cret".to_vec()));
    assert_eq!(parse("type=file,id=TOKEN")?.1, SecretSource::File("TOKEN".into()));
    assert_eq!(parse("id=key.txt")?.1, SecretSource::File("key.txt".into()));
    assert_eq!(parse("id=a,src=~/key")?.1, SecretSource::File("/home/test/key".into()));
    for text in [
        "",
        "src=/a",
        "id=",
        "id=a,env=UNSET",
        "id=a,type=vault",
        "id=a,colour=red",
        "id=a,src=/a,env=TOKEN",
        "TOKEN",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    Ok(())
}

#[test]
fn ssh_is_an_agent_or_keys() -> Test {
    let around = surroundings(&[("SSH_AUTH_SOCK", "/run/agent")]);
    assert_eq!(
        ssh("default", &around.borrow())?,
        ("default".into(), SshSource::Agent("/run/agent".into()))
    );
    assert_eq!(
        ssh("git=/a,/b", &around.borrow())?.1,
        SshSource::Keys(vec!["/a".into(), "/b".into()])
    );
    assert_eq!(
        ssh("git=/run/test.sock", &around.borrow())?.1,
        SshSource::Agent("/run/test.sock".into())
    );
    assert!(ssh("git=/run/test.sock,/a", &around.borrow()).is_err());
    assert!(ssh("=x", &around.borrow()).is_err());
    assert!(ssh("default", &surroundings(&[]).borrow()).is_err());
    Ok(())
}

#[test]
fn named_contexts_are_directories_images_or_layouts() -> Test {
    let around = surroundings(&[]);
    let parse = |text: &str| build_context(text, &around.borrow());
    assert_eq!(parse("src=../src")?, ("src".into(), NamedContext::Directory("../src".into())));
    let (name, image) = parse("docker.io/library/golang:latest=docker-image://quay.io/golang:1")?;
    assert_eq!(
        (name.as_str(), image),
        ("golang", NamedContext::Image(reference("", "quay.io/golang:1")?))
    );
    assert_eq!(
        parse("base=oci-layout:///tmp/layout:v1")?.1,
        NamedContext::OciLayout {
            path: "/tmp/layout".into(),
            tag: Some("v1".into()),
            digest: None
        }
    );
    let digest = oci::Digest::of(b"x");
    assert_eq!(
        parse(&format!("base=oci-layout://layout@{digest}"))?.1,
        NamedContext::OciLayout { path: "layout".into(), tag: None, digest: Some(digest) }
    );
    for text in [
        "a",
        "a=",
        "=b",
        "A B=c",
        "a=https://example.com/x.git?rev=1",
        "a=s3://bucket/x",
        "a=oci-layout://x@sha256:12",
        "a=docker-image://X y",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    Ok(())
}

#[test]
fn remote_contexts_are_recognised_and_paths_are_not() {
    use super::super::remote::{Remote, remote};

    let around = surroundings(&[]);
    let found = |text: &str| remote("the context", text, &around.borrow());
    for (text, is_repository) in [
        ("https://github.com/a/b.git#main:sub", true),
        ("https://example.com/x.tar.gz", false),
        ("git@github.com:a/b", true),
        ("github.com/a/b", true),
    ] {
        let expected =
            if is_repository { Remote::Repository(text.into()) } else { Remote::File(text.into()) };
        assert_eq!(found(text), Ok(Some(expected)), "{text}");
    }
    for text in ["./a", "a/b:c", "", "."] {
        assert_eq!(found(text), Ok(None), "{text}");
    }
    for text in ["s3://bucket", "file:///a", "https://h/b.git?nonsense=1"] {
        assert!(found(text).is_err(), "{text}");
    }
}
