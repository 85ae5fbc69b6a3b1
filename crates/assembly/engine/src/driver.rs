//! Carries out what the solver asks for: light work on the spot, heavy work on threads, started only when there is some.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use build_api::BuildError;
use oci::Digest;
use solver::{Action, Event, Solver};

/// What the solver's actions do. A vertex is its position in the graph.
pub(crate) trait Work: Sync {
    fn fast_key(&self, vertex: usize, inputs: &[Digest]) -> Result<Option<Digest>, BuildError>;
    fn look_up(&self, vertex: usize, key: &Digest) -> Result<bool, BuildError>;
    fn content_key(&self, vertex: usize) -> Result<Option<Digest>, BuildError>;
    fn load(&self, vertex: usize) -> Result<bool, BuildError>;
    fn run(&self, vertex: usize, keys: &[Digest]) -> Result<(), BuildError>;
    fn remember(&self, vertex: usize, key: &Digest) -> Result<(), BuildError>;
}

/// How often the user's wish to stop is looked at while steps run.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// Runs `solver` to its end. The first failure sets `stop`, which running steps obey, and is returned when they ended.
pub(crate) fn drive(
    solver: &mut Solver,
    work: &dyn Work,
    threads: usize,
    interrupted: &AtomicBool,
    stop: &AtomicBool,
) -> Result<(), BuildError> {
    let (sender, receiver) = mpsc::channel::<Result<Event, BuildError>>();
    let mut failure = None;
    let mut waiting: VecDeque<Action> = VecDeque::new();
    let mut running = 0;
    thread::scope(|scope| {
        loop {
            while failure.is_none()
                && let Some(action) = solver.next_action()
            {
                match light(work, action) {
                    Ok(Light::Answer(event)) => solver.handle(event),
                    Ok(Light::Nothing) => {}
                    Ok(Light::Heavy(action)) => waiting.push_back(action),
                    Err(error) => failure = Some(error),
                }
            }
            if interrupted.load(Ordering::Relaxed) && failure.is_none() {
                failure = Some(BuildError::Interrupted);
            }
            if failure.is_some() {
                stop.store(true, Ordering::Relaxed);
                waiting.clear();
            }
            while running < threads.max(1)
                && let Some(action) = waiting.pop_front()
            {
                let sender = sender.clone();
                running += 1;
                scope.spawn(move || {
                    // The receiver outlives every worker of the scope.
                    drop(sender.send(guarded(work, action)));
                });
            }
            if running == 0 {
                return;
            }
            match receiver.recv_timeout(INTERRUPT_POLL) {
                Ok(outcome) => {
                    running -= 1;
                    match outcome {
                        Ok(event) => solver.handle(event),
                        // What fails because another step failed says nothing new.
                        Err(error) => failure = failure.take().or(Some(error)),
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

enum Light {
    Answer(Event),
    Nothing,
    Heavy(Action),
}

fn light(work: &dyn Work, action: Action) -> Result<Light, BuildError> {
    Ok(match action {
        Action::FastKey { vertex, inputs } => {
            Light::Answer(Event::FastKey { vertex, key: work.fast_key(vertex, &inputs)? })
        }
        Action::LookUp { vertex, key } => {
            Light::Answer(Event::LookUp { vertex, hit: work.look_up(vertex, &key)? })
        }
        Action::Load { vertex } => {
            Light::Answer(Event::Load { vertex, loaded: work.load(vertex)? })
        }
        Action::Remember { vertex, key } => {
            work.remember(vertex, &key)?;
            Light::Nothing
        }
        action @ (Action::ContentKey { .. } | Action::Run { .. }) => Light::Heavy(action),
    })
}

/// A worker that panics fails the build; waiting for its answer would never end.
fn guarded(work: &dyn Work, action: Action) -> Result<Event, BuildError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| heavy(work, action)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(crate::error::refused(format!("a bug in crossdock ended a step: {text}"), None))
    })
}

fn heavy(work: &dyn Work, action: Action) -> Result<Event, BuildError> {
    Ok(match action {
        Action::ContentKey { vertex } => {
            Event::ContentKey { vertex, key: work.content_key(vertex)? }
        }
        Action::Run { vertex, keys } => {
            work.run(vertex, &keys)?;
            Event::Run { vertex }
        }
        other => match light(work, other)? {
            Light::Answer(event) => event,
            Light::Nothing | Light::Heavy(_) => unreachable!("the two heavy actions are above"),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Two vertices, the second on top of the first. The second does what the test asks for.
    struct Two {
        second: fn() -> Result<(), BuildError>,
        ran: Mutex<Vec<usize>>,
    }

    impl Work for Two {
        fn fast_key(&self, _: usize, _: &[Digest]) -> Result<Option<Digest>, BuildError> {
            Ok(None)
        }
        fn look_up(&self, _: usize, _: &Digest) -> Result<bool, BuildError> {
            Ok(false)
        }
        fn content_key(&self, _: usize) -> Result<Option<Digest>, BuildError> {
            Ok(None)
        }
        fn load(&self, _: usize) -> Result<bool, BuildError> {
            Ok(false)
        }
        fn run(&self, vertex: usize, _: &[Digest]) -> Result<(), BuildError> {
            self.ran.lock().unwrap().push(vertex);
            if vertex == 1 { (self.second)() } else { Ok(()) }
        }
        fn remember(&self, _: usize, _: &Digest) -> Result<(), BuildError> {
            Ok(())
        }
    }

    fn solve(
        second: fn() -> Result<(), BuildError>,
        interrupted: bool,
    ) -> (Result<(), BuildError>, Vec<usize>, bool) {
        let vertex = |inputs: &[usize]| solver::Vertex {
            inputs: inputs.to_vec(),
            base: None,
            ignore_cache: false,
            trivial: false,
        };
        let mut solver = Solver::new(vec![vertex(&[]), vertex(&[0])]);
        solver.want(1);
        let work = Two { second, ran: Mutex::default() };
        let (interrupted, stop) = (AtomicBool::new(interrupted), AtomicBool::new(false));
        let outcome = drive(&mut solver, &work, 2, &interrupted, &stop);
        let ran = work.ran.into_inner().unwrap();
        (outcome, ran, stop.load(Ordering::Relaxed))
    }

    #[test]
    fn steps_run_in_order() {
        let (outcome, ran, stopped) = solve(|| Ok(()), false);
        assert!(outcome.is_ok());
        assert_eq!((ran, stopped), (vec![0, 1], false));
    }

    #[test]
    fn a_failure_ends_the_build_and_tells_others_to_stop() {
        let (outcome, _, stopped) = solve(|| Err(crate::error::refused("no", None)), false);
        assert_eq!(outcome.map_err(|error| error.to_string()), Err("no".to_owned()));
        assert!(stopped);
    }

    #[test]
    fn a_panic_is_a_failure_and_no_hang() {
        let (outcome, ..) = solve(|| panic!("oh"), false);
        let text = outcome.map_err(|error| error.to_string());
        assert_eq!(text, Err("a bug in crossdock ended a step: oh".to_owned()));
    }

    #[test]
    fn an_interrupt_starts_nothing() {
        let (outcome, ran, stopped) = solve(|| Ok(()), true);
        assert!(matches!(outcome, Err(BuildError::Interrupted)));
        assert_eq!((ran, stopped), (Vec::new(), true));
    }
}
