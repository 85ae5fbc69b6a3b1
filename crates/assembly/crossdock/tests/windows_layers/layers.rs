//! What is in the layers.

use oci::Platform;
use testkit::{Context, Kind, WindowsLayer};

use crate::{Windows, files};

#[test]
fn copy_two_files() {
    let windows = Windows::new();
    let layers = windows.build(&files(), "FROM {core}\nCOPY a.txt b.exe /app/\n");
    assert_eq!(
        layers,
        [["DIR app 755 16 SD_DIR", "REG app/a.txt 644 32 SD_FILE", "REG app/b.exe 644 32 SD_FILE"]]
    );
}

#[test]
fn copy_dir() {
    let windows = Windows::new();
    let layers = windows.build(&files(), "FROM {core}\nCOPY d /app/d\n");
    let expected = [
        "DIR app 755 16 SD_DIR",
        "DIR app/d 755 16 SD_DIR",
        "DIR app/d/e 755 16 SD_DIR",
        "REG app/d/e/f.txt 644 32 SD_FILE",
    ];
    assert_eq!(layers, [expected]);
}

#[test]
fn copy_symlink_source() {
    let windows = Windows::new();
    let context = files().symlink("link.txt", "a.txt");
    let layers = windows.build(&context, "FROM {core}\nCOPY link.txt /app/link.txt\n");
    assert_eq!(layers, [["DIR app 755 16 SD_DIR", "REG app/link.txt 644 32 SD_FILE"]]);
}

#[test]
fn copy_chmod() {
    let windows = Windows::new();
    let (layers, said) =
        windows.layers(&files(), "FROM {core}\nCOPY --chmod=755 b.exe /app/c.exe\n");
    assert_eq!(layers, [["DIR app 755 16 SD_DIR", "REG app/c.exe 755 32 SD_FILE"]]);
    assert!(said.contains("--chmod means nothing to Windows"), "{said}");
}

#[test]
fn copy_chown_name() {
    let windows = Windows::new();
    let layers = windows
        .build(&files(), "FROM {core}\nCOPY --chown=ContainerUser:Users a.txt C:/chowned/\n");
    let user = "S-1-5-93-2-2";
    let directory = format!(
        "DIR chowned 755 16 O:{user}G:BUD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;{user})\
         (A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)"
    );
    let file = format!(
        "REG chowned/a.txt 644 32 O:{user}G:BUD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1301bf;;;{user})(A;;0x1200a9;;;BU)"
    );
    assert_eq!(layers, [[directory, file]]);
    let (said, code) = windows.run(
        &files(),
        "FROM {core}\nCOPY --chown=nobody a.txt /\n",
        "--platform windows/amd64",
    );
    assert_eq!(code, 1);
    assert!(said.contains("not every Windows knows the account `nobody`"), "{said}");
}

#[test]
fn copy_chown_number() {
    let windows = Windows::new();
    let (layers, said) =
        windows.layers(&files(), "FROM {core}\nCOPY --chown=1000:1000 b.exe C:/chowned/\n");
    assert_eq!(layers, [["DIR chowned 755 16 SD_DIR", "REG chowned/b.exe 644 32 SD_FILE"]]);
    assert!(said.contains("--chown=1000:1000 has no meaning in a Windows image"), "{said}");
}

/// A Dockerfile with a stage for Linux; `@` stands for busybox.
fn stage(commands: &str, last: &str) -> String {
    let commands = commands.replace('@', "/bin/busybox ");
    format!("FROM --platform=$BUILDPLATFORM {{shell}} AS build\nRUN {commands}\n{last}")
}

/// BuildKit writes the link as `Files/tool.exe`, without attributes: it leads nowhere.
#[test]
fn symlink_in_stage() {
    let windows = Windows::new();
    let text = stage(
        "@mkdir -p /out/k/bin && @touch /out/k/bin/tool.exe && @ln -s tool.exe /out/k/bin/alias.exe \
         && @ln -s /k/bin /out/k/up && @ln -s ../Windows /out/k/win",
        "FROM {core}\nCOPY --from=build /out /\n",
    );
    let layers = windows.build(&files(), &text);
    assert_eq!(
        layers,
        [[
            "DIR k 755 16 SD_DIR",
            "DIR k/bin 755 16 SD_DIR",
            "SYM k/bin/alias.exe > tool.exe 1056 -",
            "REG k/bin/tool.exe 644 32 SD_FILE",
            "SYM k/up > C:\\k\\bin 1040 -",
            "SYM k/win > ..\\Windows 1040 -",
        ]]
    );
}

#[test]
fn hardlink_in_stage() {
    let windows = Windows::new();
    let text = stage(
        "@mkdir -p /out/k && echo tool > /out/k/tool.exe && @ln /out/k/tool.exe /out/k/hard.exe \
         && @chown 1000:1001 /out/k/tool.exe",
        "FROM {core}\nCOPY --from=build /out /\n",
    );
    let layers = windows.build(&files(), &text);
    assert_eq!(
        layers,
        [[
            "DIR k 755 16 SD_DIR",
            "REG k/hard.exe 644 32 SD_FILE",
            "LNK k/tool.exe > Files/k/hard.exe"
        ]]
    );
}

#[test]
fn empty_dir() {
    let windows = Windows::new();
    let layers = windows.build(&Context::new().directory("x/emptydir"), "FROM {core}\nCOPY x /\n");
    assert_eq!(layers, [["DIR emptydir 755 16 SD_DIR"]]);
}

/// As BuildKit, but that parents of earlier layers are not written with times of their own.
#[test]
fn workdir_chain() {
    let windows = Windows::new();
    let text = "# escape=`\nFROM {core}\nWORKDIR C:\\app\\Sub\nCOPY a.txt .\nWORKDIR rel\\dir\nWORKDIR ..\\up\n";
    let sub = ["DIR app 755 16 SD_DIR", "DIR app/Sub 755 16 SD_DIR"];
    let expected = [
        sub.to_vec(),
        [&sub[..], &["REG app/Sub/a.txt 644 32 SD_FILE"]].concat(),
        [&sub[..], &["DIR app/Sub/rel 755 16 SD_DIR", "DIR app/Sub/rel/dir 755 16 SD_DIR"]]
            .concat(),
        [&sub[..], &["DIR app/Sub/rel 755 16 SD_DIR", "DIR app/Sub/rel/up 755 16 SD_DIR"]].concat(),
    ];
    assert_eq!(windows.build(&files(), text), expected);
    let config = windows.registry.image("app:1").config("windows/amd64").config;
    assert_eq!(config.working_dir, "C:\\app\\Sub\\rel\\up");
}

#[test]
fn add_tgz() {
    let windows = Windows::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o755);
    tar.append_data(&mut header, "sub/", &b""[..]).expect("a tar can be written");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "sub/f", &b"f"[..]).expect("a tar can be written");
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "l", "sub/f").expect("a tar can be written");
    let context = Context::new().file("arc.tar", tar.into_inner().expect("a tar can be written"));
    let layers = windows.build(&context, "# escape=`\nFROM {core}\nADD arc.tar c:\\arc\\\n");
    assert_eq!(
        layers,
        [[
            "DIR arc 755 16 SD_DIR",
            "SYM arc/l > sub\\f 1056 -",
            "DIR arc/sub 755 16 SD_DIR",
            "REG arc/sub/f 644 32 SD_FILE",
        ]]
    );
}

/// BuildKit writes the base's folder anew, without its attribute and descriptor.
#[test]
fn json_paths_with_spaces() {
    let windows = Windows::new();
    let text = "# escape=`\nFROM {core}\nCOPY [\"a.txt\", \"C:\\\\Program Files\\\\My App\\\\\"]\n";
    assert_eq!(
        windows.build(&files(), text),
        [[
            "DIR Program Files 755 17 SD_ADMIN",
            "DIR Program Files/My App 755 16 SD_DIR",
            "REG Program Files/My App/a.txt 644 32 SD_FILE",
        ]]
    );
}

/// BuildKit makes `ProgramData` visible and gives it another access list.
#[test]
fn parent_attrs_kept() {
    let windows = Windows::new();
    let text =
        "FROM {core}\nCOPY a.txt /ProgramData/x.txt\nCOPY a.txt /mine/y.txt\nCOPY b.exe /Mine/\n";
    assert_eq!(
        windows.build(&files(), text),
        [
            ["DIR ProgramData 755 8210 SD_USER", "REG ProgramData/x.txt 644 32 SD_FILE"],
            ["DIR Mine 755 18 SD_USER", "REG Mine/y.txt 644 32 SD_FILE"],
            ["DIR Mine 755 18 SD_USER", "REG Mine/b.exe 644 32 SD_FILE"],
        ]
    );
}

/// Also through a junction, which BuildKit does not find.
#[test]
fn case_fold_parent() {
    let windows = Windows::new();
    let text = "FROM {core}\nCOPY a.txt /WINDOWS/system32/\nCOPY a.txt \"/documents and settings/\"\nCOPY a.txt /LICENSE.TXT\n";
    assert_eq!(
        windows.build(
            &files(),
            &text.replace(
                "a.txt \"/documents and settings/\"",
                "[\"a.txt\", \"/documents and settings/\"]"
            )
        ),
        [
            vec![
                "DIR Windows 755 16 -",
                "DIR Windows/System32 755 16 SD_ADMIN",
                "REG Windows/System32/a.txt 644 32 SD_FILE",
            ],
            vec!["DIR Users 755 16 -", "REG Users/a.txt 644 32 SD_FILE"],
            vec!["REG License.txt 644 32 SD_FILE"],
        ]
    );
}

#[test]
fn illegal_names() {
    let windows = Windows::new();
    for name in ["aux.txt", "que?.txt", "col:on.txt", "trail.", "back\\slash"] {
        let context = Context::new().file(&format!("d/{name}"), "x");
        let (said, code) =
            windows.run(&context, "FROM {core}\nCOPY d /d\n", "--platform windows/amd64");
        assert_eq!(code, 1, "{name}");
        assert!(said.contains("Windows layer"), "{name}: {said}");
    }
}

#[test]
fn case_duplicate() {
    let windows = Windows::new();
    let context = Context::new().file("d/File.txt", "x").file("d/file.TXT", "y");
    let (said, code) =
        windows.run(&context, "FROM {core}\nCOPY d /d\n", "--platform windows/amd64");
    assert_eq!(code, 1);
    assert!(said.contains("Windows cannot tell it from `d/File.txt`"), "{said}");
}

/// BuildKit's layers differ at every build.
#[test]
fn reproducible_twice() {
    let text = "FROM {core}\nCOPY d /app/d\nWORKDIR C:/app/w\n";
    let digests = [1, 2].map(|_| {
        let windows = Windows::new();
        windows.build(&files(), text);
        windows.registry.image("app:1").manifest("windows/amd64").layers[3..].to_vec()
    });
    assert_eq!(digests[0], digests[1]);
}

/// BuildKit writes plain layers, which no Windows imports.
#[test]
fn from_scratch_windows() {
    let windows = Windows::new();
    let layers = windows.build(&files(), "FROM scratch\nCOPY a.txt /app/\n");
    let hives = ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"]
        .map(|hive| format!("REG Windows/System32/config/{hive} 644 32 SD_FILE"));
    assert_eq!(layers.len(), 2);
    assert_eq!(layers[0][3..], hives);
    assert_eq!(layers[1], ["DIR app 755 16 SD_DIR", "REG app/a.txt 644 32 SD_FILE"]);
    let config = windows.registry.image("app:1").config("windows/amd64");
    assert_eq!((config.os_version.as_str(), config.history.len()), ("", 2));
    // One that brings its hives is left alone.
    let context = ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"]
        .iter()
        .fold(files(), |context, hive| context.file(&format!("c/{hive}"), "regf"));
    let layers =
        windows.build(&context, "FROM scratch\nCOPY c /Windows/System32/config/\nCOPY a.txt /\n");
    assert_eq!(layers.len(), 2);
}

/// BuildKit puts the layer of whichever platform was first into both images.
#[test]
fn copy_link_multi_os() {
    let windows = Windows::new();
    let text = "FROM scratch AS base-linux\nFROM {core} AS base-windows\nARG TARGETOS\n\
                FROM base-${TARGETOS}\nCOPY --link --chown=7:8 a.txt /app/\nCOPY --link b.exe /app/\n";
    let text = text
        .replace("FROM scratch AS", "ARG TARGETOS\nFROM scratch AS")
        .replace("\nARG TARGETOS\nFROM base", "\nFROM base");
    for platforms in ["linux/amd64,windows/amd64", "windows/amd64,linux/amd64"] {
        let (said, code) = windows.run(&files(), &text, &format!("--platform {platforms}"));
        assert_eq!(code, 0, "{said}");
        let image = windows.registry.image("app:1");
        let linux = image.layers("linux/amd64");
        let names: Vec<(&str, u64)> =
            linux[0].iter().map(|(name, entry)| (name.as_str(), entry.uid)).collect();
        assert_eq!(names, [("app", 7), ("app/a.txt", 7)]);
        assert_eq!(
            windows.shown("windows/amd64", 3),
            [
                ["DIR app 755 16 SD_DIR", "REG app/a.txt 644 32 SD_FILE"],
                ["DIR app 755 16 SD_DIR", "REG app/b.exe 644 32 SD_FILE"]
            ]
        );
    }
}

/// With names in any case, hard links, through a junction; descriptors and attributes go along.
#[test]
fn windows_stage_as_copy_source() {
    let windows = Windows::new();
    let text = "FROM {core} AS core\nCOPY a.txt /ProgramData/hidden.txt\nFROM {core}\n\
                COPY --from=core C:/WINDOWS/system32/CMD.exe C:/z/\n\
                COPY --from=core [\"C:/Documents and Settings/who.txt\", \"C:/z/\"]\n\
                COPY --from=core C:/ProgramData C:/data\n";
    let rules = "[[files]]\npaths = ['C:\\ProgramData\\hidden.txt']\nattributes = ['hidden', 'readonly']\n\
                 sddl = 'O:BAG:BAD:P(A;;FR;;;WD)'\n";
    let layers = windows.build(&files().file("Dockerfile.windows.toml", rules), text);
    assert_eq!(
        layers,
        [
            ["DIR z 755 16 SD_DIR", "REG z/CMD.exe 644 32 SD_FILE"],
            ["DIR z 755 16 SD_DIR", "REG z/who.txt 644 32 SD_FILE"],
            ["DIR data 755 16 SD_DIR", "REG data/hidden.txt 644 35 O:BAG:BAD:P(A;;FR;;;WD)"],
        ]
    );
    let image = windows.registry.image("app:1");
    let cmd = &image.layers("windows/amd64")[3][3].1;
    assert_eq!(cmd.kind, Kind::File(b"MZ new".to_vec()));
}

/// BuildKit refuses zstd for Windows.
#[test]
fn zstd() {
    let windows = Windows::new();
    let (said, code) = windows.run(
        &files(),
        "FROM {core}\nCOPY a.txt /app/\n",
        &format!(
            "--platform windows/amd64 -o type=registry,compression=zstd,name={}",
            windows.registry.name("app:1")
        ),
    );
    assert_eq!(code, 0, "{said}");
    let image = windows.registry.image("app:1");
    let layer = &image.manifest("windows/amd64").layers[3];
    assert_eq!(layer.media_type, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(windows.shown("windows/amd64", 3).len(), 1);
}

/// BuildKit unpacks all of it.
#[test]
fn big_base_no_unpack() {
    let windows = Windows::new();
    let manifest = windows.registry.image("core:1").manifest("windows/amd64").clone();
    windows.registry.take_received();
    let (said, code) = windows.run(
        &files(),
        "FROM {core}\nCOPY a.txt C:/app/\nCOPY d /k/d\nWORKDIR C:/app/w\n",
        "--platform windows/amd64",
    );
    assert_eq!(code, 0, "{said}");
    let received = windows.registry.take_received();
    let fetched = manifest.layers.iter().map(|layer| {
        let path = format!("/blobs/{}", layer.digest);
        received.iter().any(|it| it.method == "GET" && it.path.ends_with(&path))
    });
    // Of Windows itself nothing, of what was put on it the headers.
    assert_eq!(fetched.collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(windows.shown("windows/amd64", 3).len(), 3);
}

#[test]
fn invalid_sddl_is_refused_with_its_place() {
    let windows = Windows::new();
    let rules = "[[files]]\npaths = ['C:/app/**']\nsddl = 'D:(A;;FQ;;;BA)'\n";
    let context = files().file("Dockerfile.windows.toml", rules);
    let (said, code) =
        windows.run(&context, "FROM {core}\nCOPY a.txt /app/\n", "--platform windows/amd64");
    assert_eq!(code, 1);
    assert!(said.contains("Dockerfile.windows.toml:3: invalid SDDL: `FQ` is no right"), "{said}");
    assert!(said.contains("(at character 7)"), "{said}");
}

/// BuildKit takes the first that fits and gives it the version that was asked for.
#[test]
fn multi_osversion() {
    let windows = Windows::new();
    let versions = ["10.0.17763.6775", "10.0.20348.3091", "10.0.26100.2894"];
    let entries = versions.map(|version| {
        let platform: Platform = format!("windows({version})/amd64").parse().expect("a platform");
        let layer = WindowsLayer::new()
            .directory("Files", 16, "")
            .directory("Files/App", 18, "")
            .file("Files/version.txt", version.as_bytes());
        let history = ["COPY version.txt"];
        windows.registry.add_windows_image(
            "many",
            version,
            &platform,
            vec![layer.finish()],
            &history,
        )
    });
    let index = oci::Index::new(entries.to_vec());
    let bytes = oci::Document::write(index).raw;
    windows
        .registry
        .put_manifest("many", "1", oci::media_type::OCI_INDEX, bytes.to_vec())
        .expect("an index can be kept");
    let text = format!("FROM {}\nCOPY a.txt C:/app/\n", windows.registry.name("many:1"));
    for version in versions {
        let build = version.rsplit_once('.').map_or(version, |(build, _)| build);
        let (said, code) =
            windows.run(&files(), &text, &format!("--platform windows({build})/amd64"));
        assert_eq!(code, 0, "{said}");
        let image = windows.registry.image("app:1");
        assert_eq!(image.config("windows/amd64").os_version, version);
        assert_eq!(
            image.layers("windows/amd64")[0][2].1.kind,
            Kind::File(version.as_bytes().to_vec())
        );
        let expected = ["DIR App 755 18 -", "REG App/a.txt 644 32 SD_FILE"];
        assert_eq!(windows.shown("windows/amd64", 1), [expected]);
    }
    // `no-matching-build`
    let (said, code) = windows.run(&files(), &text, "--platform windows(10.0.14393)/amd64");
    assert_eq!(code, 1);
    for version in versions {
        assert!(said.contains(version), "the builds on offer are listed: {said}");
    }
}

/// Whatever an earlier build over another base left in the store.
#[test]
fn copy_link_over_another_base() {
    let windows = Windows::new();
    let base = |attributes| {
        WindowsLayer::new()
            .directory("Files", 16, "")
            .directory("Files/Mine", attributes, windows::SD_USER)
            .finish()
    };
    let platform: Platform = "windows(10.0.20348.3091)/amd64".parse().expect("a platform");
    for attributes in [18, 17, 18] {
        let layers = vec![base(attributes)];
        windows.registry.add_windows_image("other", "1", &platform, layers, &["COPY mine"]);
        let text = format!("FROM {}\nCOPY --link a.txt /mine/\n", windows.registry.name("other:1"));
        let (said, code) = windows.run(&files(), &text, "--pull --platform windows/amd64");
        assert_eq!(code, 0, "{said}");
        let directory = format!("DIR Mine 755 {attributes} SD_USER");
        let expected = [directory.as_str(), "REG Mine/a.txt 644 32 SD_FILE"];
        assert_eq!(windows.shown("windows/amd64", 1), [expected]);
    }
}
