//! A request to stop, by a signal: the first is heard after the step at work, a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Whether the process was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The signal, 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens to SIGINT (Ctrl-C) and SIGTERM; a second one ends the process at once.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn on_signals() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must not meet the flag that it sets itself.
            let listening = flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()));
            listening.map_err(unheard)?;
        }
        Self::patiently()
    }

    /// The same, however often it is asked: a child may be asked by its parent and by who ends both.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn patiently() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            flag::register_usize(signal, stop.signal.clone(), signal as usize).map_err(unheard)?;
        }
        Ok(stop)
    }

    /// The signal by which it was asked.
    pub fn signal(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

fn unheard(error: std::io::Error) -> Error {
    Error::Usage(format!("signals cannot be listened to: {error}"))
}
