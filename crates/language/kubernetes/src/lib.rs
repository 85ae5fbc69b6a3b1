//! What does a Kubernetes manifest say about Windows containers, and is it right?
//!
//! Text in, findings with places out ([`check`]); and the other way round: what is known of an image in, a manifest out
//! ([`generate`]). The rules are listed in [`RULES`], from the Kubernetes documentation of Windows containers, KEP-1981
//! (HostProcess) and the rules of container runtimes in the `windows` crate. This crate asks nobody: what an image is like
//! is told by an [`Images`], what day it is by [`CheckOptions`].
#![warn(missing_docs)]

mod generate;
mod image;
mod pod;
mod rules;
mod yaml;

pub use generate::{GenerateError, GenerateOptions, Workload, generate};
pub use image::{ImageFacts, Images, Variant};
pub use rules::{CheckOptions, Checked, RULES, Rule, check};
pub use yaml::{DEEPEST, LARGEST};
