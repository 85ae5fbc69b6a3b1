//! How does a request become a result on this machine?
//!
//! The embedded builder. A request's Dockerfile is compiled to one LLB definition per platform (`frontend`); equal
//! vertices of all definitions are merged to one graph; the `solver` says what to run; sources, `fstree`, `snapshot` and
//! `executor` do it; `exporters` write the results. The engine knows no terminal, no environment and no home directory.

mod options;

pub use options::{EngineOptions, RunRequest, Volume};
