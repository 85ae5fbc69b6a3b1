//! How fast are a directory's files packed and unpacked? `cargo run -p layer --example throughput -- DIRECTORY`
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a tool for developers")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use fstree::{Owners, TreeForm};
use layer::{Compression, PackOptions, UnpackOptions, decompress, pack, unpack};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    let start = Instant::now();
    let changes = fstree::read_tree(Path::new(&directory), Owners::IDENTITY, TreeForm::Plain)?;
    println!("{} entries read in {:.2?}", changes.len(), start.elapsed());
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::Uncompressed] {
        for threads in [1, 2] {
            let mut blob = Vec::new();
            let start = Instant::now();
            let packed = pack(
                &changes,
                &PackOptions { compression, threads, ..PackOptions::default() },
                &mut blob,
            )?;
            let (size, time) = (packed.uncompressed_size, start.elapsed());
            let rate = |time: std::time::Duration| (size as f64 / 1e6 / time.as_secs_f64()).round();
            println!(
                "{:12} {threads} threads: {size} to {} bytes in {time:.2?}, {} MB/s",
                compression.name(),
                packed.size,
                rate(time)
            );
            let target = tempfile::tempdir()?;
            let start = Instant::now();
            unpack(
                decompress(&*blob, u64::MAX)?,
                target.path(),
                Owners::IDENTITY,
                &UnpackOptions::default(),
            )?;
            println!(
                "{:12} unpacked in {:.2?}, {} MB/s",
                "",
                start.elapsed(),
                rate(start.elapsed())
            );
        }
    }
    Ok(())
}
