//! Parses a file and tells how long that took and how much memory the process had at most (Linux):
//! `cargo run --release -p dockerfile --example parse -- FILE`.
#![expect(clippy::print_stdout, reason = "its only output")]

use std::error::Error;
use std::time::Instant;

use report::SourceText;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("name a file")?;
    let text = fs_err::read_to_string(&name)?;
    let source = SourceText { name, text: text.into() };
    let start = Instant::now();
    let file = dockerfile::parse(&source);
    let took = start.elapsed();
    println!(
        "{} bytes, {} instructions, {} tokens, {} diagnostics in {took:?}",
        source.text.len(),
        file.instructions().count(),
        file.syntax.tokens().count(),
        file.diagnostics.len(),
    );
    for diagnostic in file.diagnostics.iter().rev().take(3) {
        println!("{diagnostic}");
    }
    let status = fs_err::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}
