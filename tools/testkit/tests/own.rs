//! The tools themselves: what is put into the registry is seen in the image, and the program has a home of its own.

use testkit::{Context, Kind, Program, Registry};

#[test]
fn an_image_in_the_registry_is_looked_into() {
    let registry = Registry::start();
    let index = registry.add_base(
        "base",
        "1",
        &["linux/amd64", "linux/arm/v7", "windows(10.0.20348.2227)/amd64"],
    );
    let image = registry.image("base:1");
    assert_eq!(image.descriptor, index);
    assert_eq!(
        image.platforms(),
        ["linux/amd64", "linux/arm/v7", "windows(10.0.20348.2227)/amd64"]
    );
    assert_eq!(image.text("linux/arm/v7", "platform"), "linux/arm/v7");
    assert_eq!(image.config("linux/arm/v7").variant, "v7");
    let pinned = registry.image(&format!("base@{}", index.digest));
    assert_eq!(pinned.platforms().len(), 3);
}

#[test]
fn whiteouts_hide_what_is_below_and_only_that() {
    let file = |path: &str| {
        let entry = testkit::Entry {
            kind: Kind::File(vec![]),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            pax: [].into(),
        };
        (path.to_owned(), entry)
    };
    let below = vec![file("a/x"), file("a/y"), file("b/x"), file("ab"), file("c")];
    let above =
        vec![file("a/new"), file("a/.wh..wh..opq"), file("b/.wh.x"), file(".wh.c"), file("c")];
    let tree = testkit::overlay([below, above]);
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["a/new", "ab", "c"]);
}

#[test]
fn a_context_has_what_was_put_into_it() -> std::io::Result<()> {
    let context = Context::with_dockerfile("FROM scratch\n")
        .file("dir/a", "x")
        .symlink("link", "dir/a")
        .file_with_mode("run", "", 0o755);
    assert_eq!(fs_err::read_to_string(context.join("link"))?, "x");
    assert_eq!(fs_err::read_to_string(context.path().join("Dockerfile"))?, "FROM scratch\n");
    let program = Program::new();
    assert!(program.home().is_dir());
    Ok(())
}
