//! Ctrl-C: the first asks for a tidy end, the second ends at once.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code after an interrupt: that of any build that did not come to its end.
pub(crate) const INTERRUPTED: u8 = 1;

/// How often the flag is looked at.
const POLL: Duration = Duration::from_millis(100);
/// A tidy end takes no longer. What it waits for then is a server that does not answer.
const GRACE: Duration = Duration::from_secs(3);

/// The flag that SIGINT, SIGTERM and SIGHUP set from now on. Where it is set already, they end the process; the kernel
/// then ends the sandboxes, which asked to die with it.
pub(crate) fn cancel_flag() -> io::Result<Arc<AtomicBool>> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&cancel))?;
        flag::register(signal, Arc::clone(&cancel))?;
    }
    Ok(cancel)
}

/// Ends the process when it has not ended by itself some time after the flag was set. Nothing is lost by that: what the
/// store has not named yet is swept by the next who uses it.
pub(crate) fn end_in_time(cancel: Arc<AtomicBool>) {
    let watch = move || {
        while !cancel.load(Ordering::Relaxed) {
            thread::sleep(POLL);
        }
        thread::sleep(GRACE);
        drop(io::stderr().write_all(b"\ninterrupted\n"));
        #[expect(clippy::exit, reason = "other threads wait for what may never come")]
        std::process::exit(i32::from(INTERRUPTED));
    };
    // Without it a second Ctrl-C is needed.
    drop(thread::Builder::new().name("interrupt".to_owned()).spawn(watch));
}
