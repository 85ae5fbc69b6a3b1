//! One `fsync` for many: threads that ask while one runs share the next.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Default)]
pub(crate) struct GroupSync {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    started: u64,
    done: u64,
    running: bool,
}

impl GroupSync {
    /// Returns after a run of `work` that began after this call did.
    pub(crate) fn run(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = state.started + 1;
        while state.running {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.done >= needed {
                return Ok(());
            }
        }
        state.running = true;
        state.started += 1;
        let mine = state.started;
        drop(state);
        let result = work();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = false;
        if result.is_ok() {
            state.done = mine;
        }
        drop(state);
        self.wake.notify_all();
        result
    }
}
