//! Processes that use one store at once are killed at random moments; what they had been told is done must be there.
#![expect(clippy::disallowed_methods, reason = "the test starts itself again as another process")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use oci::{Descriptor, Manifest, media_type};
use store::{PruneOptions, Record, Ref, Store};

const DIR: &str = "CROSSDOCK_KILL_TEST_STORE";
const SEED: &str = "CROSSDOCK_KILL_TEST_SEED";

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The process that is killed: not a test by itself.
#[test]
#[ignore = "started by the test below, as another process"]
fn worker() {
    let (Ok(dir), Ok(seed)) = (std::env::var(DIR), std::env::var(SEED)) else { return };
    let mut random = Random(seed.parse::<u64>().unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut said = std::io::stderr();
    for round in 0_u64.. {
        let store = Store::open(Path::new(&dir)).unwrap();
        let lease = store.lease().unwrap();
        let text = format!("{seed}-{round}");
        let mut content = text.clone().into_bytes();
        content.resize(usize::try_from(random.below(300_000)).unwrap() + 100, b'.');

        let shared = store.put_bytes(&[u8::try_from(random.below(5)).unwrap(); 5000]).unwrap();
        let mut partial = store.partial(&oci::Digest::of(&content)).unwrap();
        let rest = usize::try_from(partial.offset()).unwrap();
        partial.write_all(&content[rest..]).unwrap();
        let (layer, size) = partial.commit().unwrap();
        let config = store.put_bytes(text.as_bytes()).unwrap();
        let config = Descriptor::new(media_type::OCI_CONFIG, config, text.len() as u64);
        let layers = vec![Descriptor::new(media_type::OCI_LAYER, layer.clone(), size)];
        let manifest = serde_json::to_vec(&Manifest::new(config, layers)).unwrap();
        store.put_bytes(&manifest).unwrap();
        let image = Descriptor::of(media_type::OCI_MANIFEST, &manifest);

        let tree = store.new_tree().unwrap();
        fs_err::create_dir(tree.path().join("d")).unwrap();
        fs_err::write(tree.path().join("d/f"), &text).unwrap();
        let id = format!("t-{}", random.below(20));
        tree.commit(&id).unwrap();
        assert!(store.has_tree(&id));
        let refs = [Ref::Blob(shared), Ref::Tree(id), Ref::Image(image.digest.clone())];
        store
            .put_many(&[Record { namespace: "step", key: &text, value: b"v", refs: &refs }])
            .unwrap();
        assert!(store.get("step", &text).unwrap().is_some());
        store.tag(&text, &image).unwrap();
        writeln!(said, "tagged {text} {layer}").unwrap();
        match random.below(4) {
            0 => drop(store.prune(&PruneOptions::default()).unwrap()),
            1 => drop(store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap()),
            _ => {}
        }
        drop(lease);
    }
}

#[test]
fn a_store_survives_processes_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut random = Random(0x5EED);
    let mut tagged = 0;
    for round in 0..20 {
        let start = |seed: u64| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["worker", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
            command.env(DIR, &path).env(SEED, seed.to_string());
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut workers = [start(round * 2 + 1), start(round * 2 + 2)];
        std::thread::sleep(Duration::from_millis(30 + random.below(250)));
        for worker in &mut workers {
            worker.kill().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(20)));
        }
        let store = Store::open(&path).unwrap();
        for worker in workers {
            let output = worker.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!text.contains("panicked"), "round {round}: {text}");
            for line in text.lines().filter(|line| line.starts_with("tagged ")) {
                let mut words = line.split(' ').skip(1);
                let (Some(name), Some(layer)) = (words.next(), words.next()) else { continue };
                let Ok(layer) = layer.parse() else { continue };
                assert!(store.lookup(name).unwrap().is_some(), "round {round}: {name} is lost");
                assert!(
                    store.blob_size(&layer).is_some(),
                    "round {round}: the layer of {name} is lost"
                );
                tagged += 1;
            }
        }
        store.sweep().unwrap();
        assert_eq!(store.verify().unwrap(), [], "round {round}");
        for folder in ["tmp", "leases"] {
            let left: Vec<_> = fs_err::read_dir(path.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert!(left.is_empty(), "round {round}: {left:?} left in {folder}");
        }
    }
    println!("{tagged} images named in 20 rounds");
    let store = Store::open(&path).unwrap();
    for entry in store.names().unwrap() {
        store.untag(&entry.name).unwrap();
    }
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert_eq!(store.usage().unwrap().entries, []);
}
