//! What is built, when a Dockerfile is built for a platform?
//!
//! [`compile`] takes a Dockerfile and answers with an LLB definition and the configuration of the image, or with
//! everything that is wrong with it, each with its place. It asks an [`ImageResolver`] for the configurations of base
//! images and nothing else: it reads no file, knows no network and no store.
//!
//! The text is read by `dockerfile`; `compiler` makes stages of it, finds what the target needs and where that comes
//! from; `dispatch`, `run` and `copy` go through the instructions of each stage in order. [`check`] goes the same way for
//! what it says about the Dockerfile alone. Definitions and configurations
//! are the same as BuildKit's Dockerfile frontend makes, but for what is said at each function.

mod bases;
mod budget;
mod builtin;
mod check;
mod checks;
mod compiler;
mod contexts;
mod copy;
mod dispatch;
mod env;
mod epoch;
mod froms;
mod names;
mod options;
mod paths;
mod permissions;
mod ports;
mod run;
mod stage;
mod stages;
mod text;
mod windows;
mod windows_moves;

pub use check::{Checked, Outline, OutlineArgument, OutlineMount, check};
pub use checks::{CheckConfig, configuration};
pub use options::{
    AllowDevices, CompileOptions, Compiled, Context, Excluded, ImageName, ImageResolver, NoCache,
    ResolveError, ResolvedImage, Stage, Step,
};

use report::{Diagnostic, SourceText};

/// Compiles a Dockerfile for one platform.
///
/// # Errors
/// Everything that is wrong, errors before warnings, each with its place in the Dockerfile.
pub fn compile(
    options: &CompileOptions,
    resolver: &dyn ImageResolver,
) -> Result<Compiled, Vec<Diagnostic>> {
    let file = dockerfile::parse(&options.source);
    compiler::Compiler::new(options, resolver, &file).run()
}

/// The names of a Dockerfile's stages in order, `None` for those without: what `--target` can be.
pub fn stages(source: &SourceText) -> Vec<Option<String>> {
    let file = dockerfile::parse(source);
    let stages = file.stages.into_iter();
    stages.map(|stage| stage.from.name.map(|name| name.text)).collect()
}
