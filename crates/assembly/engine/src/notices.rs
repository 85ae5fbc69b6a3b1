//! What the registry client has to say while it waits, handed on to whoever watches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use report::{Event, Progress};

/// Lines that nobody was told yet.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<(Mutex<Vec<String>>, Condvar)>);

/// How long a line waits at most when its arrival was missed.
const TICK: Duration = Duration::from_millis(200);

impl Notices {
    /// Takes lines for [`telling`](Self::telling) to hand on.
    pub(crate) fn taker(&self) -> registry::Notice {
        let notices = self.clone();
        Arc::new(move |line: &str| {
            let (lines, arrived) = &*notices.0;
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
            arrived.notify_one();
        })
    }

    /// Does `work`, and tells `progress` meanwhile what is taken.
    pub(crate) fn telling<T>(&self, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (lines, arrived) = &*self.0;
                let mut waiting = lines.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    for line in waiting.drain(..) {
                        progress.event(Event::Note(line));
                    }
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting = arrived
                        .wait_timeout(waiting, TICK)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            });
            // Also when the work panics: the scope waits for its thread.
            let _finish = Finish { over: &over, notices: self };
            work()
        })
    }
}

/// Ends the telling thread.
struct Finish<'a> {
    over: &'a AtomicBool,
    notices: &'a Notices,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let (lines, arrived) = &*self.notices.0;
        let waiting = lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.over.store(true, Ordering::Relaxed);
        drop(waiting);
        arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_taken_while_working_are_told() {
        struct Told(Mutex<Vec<String>>);
        impl Progress for Told {
            fn event(&self, event: Event) {
                if let Event::Note(line) = event {
                    self.0.lock().unwrap().push(line);
                }
            }
        }
        let (notices, told) = (Notices::default(), Told(Mutex::default()));
        let take = notices.taker();
        let result = notices.telling(&told, || {
            take("waiting 3 s for the registry");
            take("going on");
            7
        });
        assert_eq!(result, 7);
        assert_eq!(*told.0.lock().unwrap(), ["waiting 3 s for the registry", "going on"]);
    }
}
