//! What has to run, what can be reused, and in which order?
//!
//! A [`Solver`] is a pure state machine. It is told the graph and which vertices are wanted; it answers with
//! [`Action`]s for a driver to carry out, on as many threads as that likes, and takes their outcome as [`Event`]s. It
//! knows neither what an operation does nor files, time or threads.
//!
//! The path of a vertex, from wanted to done:
//!
//! ```text
//! wanted ─► fast key (from the inputs' fast keys) ─► look up ─ hit ─► its base's result ─► load ─► done
//!                 │ none                               │ miss
//!                 └──────────────► results of all inputs ─► content key ─► look up ─ hit ─► load ─► done
//!                                                             │ none          │ miss
//!                                                             └───────────────┴────► run ─► done
//! ```
//!
//! A hit on the fast key needs no input but the one it is stacked on, so a cached build never looks at what its cached
//! steps once read.
#![warn(missing_docs)]

mod machine;
#[cfg(test)]
mod tests;

pub use machine::{Action, Event, Solver, Status, Vertex};
