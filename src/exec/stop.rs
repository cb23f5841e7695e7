//! Stop requests by signal. The first takes effect after the current step, or ends the process after a
//! bounded time; a second one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use crate::error::{Error, Result};

/// Time that a process has for its current step after it was asked to stop. Its last checkpoint remains.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stop request of this process.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Signal received, 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens for the signals that ask a program to stop: Ctrl-C, SIGTERM, a closed terminal, and
    /// those that batch systems send before a time limit. A second Ctrl-C or SIGTERM ends the process at once; the others come
    /// more than once of themselves.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn on_signals() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order, so that the first signal does not see the flag that it sets itself.
            let listening = flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()));
            listening.map_err(unheard)?;
        }
        Self::patiently()
    }

    /// Listens for the same signals, and ignores repeated ones: a child may get one from its
    /// parent and one from whoever ends both.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn patiently() -> Result<Self> {
        let stop = Self::default();
        for signal in signals() {
            flag::register_usize(signal, stop.signal.clone(), signal as usize).map_err(unheard)?;
        }
        // Steps may take minutes where a machine is overloaded.
        let mut heard = Signals::new(signals()).map_err(unheard)?;
        std::thread::spawn(move || {
            if let Some(signal) = heard.forever().next() {
                std::thread::sleep(PATIENCE);
                exit(128 + signal);
            }
        });
        Ok(stop)
    }

    /// Signal that requested the stop.
    pub fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

/// Signals that ask a program to stop, without those that this process was started to ignore: `nohup` ignores
/// SIGHUP.
fn signals() -> Vec<i32> {
    let ignored = ignored();
    let all = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU];
    all.into_iter().filter(|signal| matches!(*signal, SIGINT | SIGTERM) || ignored & (1 << (signal - 1)) == 0).collect()
}

/// Signals that this process ignores, as bits; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Makes a write beyond the limit on files (`ulimit -f`) an error that can be reported, instead of the end of the process.
pub fn survive_file_limit() {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGXFSZ, Arc::default()).ok();
}

fn unheard(error: std::io::Error) -> Error {
    Error::Usage(format!("cannot install the signal handlers: {error}"))
}
