//! `crossdock windows smoke`.

use std::io::{self, Write};

use engine::SmokeRequest;
use report::{Event, Progress};

use crate::args::SmokeArgs;
use crate::failure::Failure;
use crate::progress::clean;
use crate::request::{key_value, platforms, reference};
use crate::session::Session;

/// Runs a program of a Windows image under Wine; its exit code becomes ours.
pub(super) fn smoke(args: &SmokeArgs, session: &Session<'_>) -> Result<(), Failure> {
    for variable in &args.env {
        key_value("--env", variable)?;
    }
    let request = SmokeRequest {
        image: reference("image", &args.image)?,
        platform: platforms("--platform", args.platform.as_deref())?.pop(),
        program: args.program.clone(),
        env: args.env.clone(),
    };
    let engine = session.engine()?;
    session.end_in_time()?;
    Notes.event(Event::Note(
        "this is a smoke test under Wine: what runs here may fail on Windows, and the other way round".to_owned(),
    ));
    let code = engine.smoke(&request, &Notes).map_err(|error| session.failure(error))?;
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Exit(code)),
        Err(_) => Err(Failure::Exit(1)),
    }
}

/// Only what a user must know comes before the program's own lines.
struct Notes;

impl Progress for Notes {
    fn event(&self, event: Event) {
        if let Event::Note(note) = event {
            drop(io::stderr().write_all(format!("note: {}\n", clean(&note)).as_bytes()));
        }
    }
}
