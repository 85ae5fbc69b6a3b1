//! Ctrl-C: the first asks for a tidy end, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit code of a program that an interrupt ended.
pub(crate) const INTERRUPTED: u8 = 130;

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
