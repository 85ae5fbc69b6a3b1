//! Every seed, and every input that once broke something, holds its property; so do copies of it with a few bytes
//! changed. The fuzzer looks further; this needs no fuzzer and takes seconds.

use std::fs;
use std::path::Path;

/// A sequence of numbers that is the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

/// The seed with some bytes changed, doubled or left out.
fn mutated(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len());
        let end = (at + numbers.below(20)).min(bytes.len());
        match numbers.below(4) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let signs = b"\n\\`\"'${}<>#=:/!*?[]-,\0 \xc3\xff9";
                bytes.insert(at, signs[numbers.below(signs.len())]);
            }
        }
    }
    bytes
}

#[test]
fn seeds_hold_their_properties() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus-seeds");
    let changes = std::env::var("CHANGES").map_or(200, |text| text.parse().unwrap());
    let mut count = 0;
    for (name, property) in properties::PROPERTIES {
        property(b"");
        let mut files: Vec<_> =
            fs::read_dir(seeds.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let seed = fs::read(&file).unwrap();
            property(&seed);
            let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
            for _ in 0..changes {
                let bytes = mutated(&seed, &mut numbers);
                if std::panic::catch_unwind(|| property(&bytes)).is_err() {
                    panic!("{}: {:?}", file.display(), String::from_utf8_lossy(&bytes));
                }
            }
            count += 1;
        }
    }
    assert!(count >= properties::PROPERTIES.len(), "{count} seeds");
}
