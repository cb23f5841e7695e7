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
    /// Listens to SIGINT (Ctrl-C) and SIGTERM.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must not meet the flag that it sets itself.
            let listening = flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())
                .and_then(|_| flag::register(signal, asked.clone()))
                .and_then(|_| flag::register_usize(signal, stop.signal.clone(), signal as usize));
            listening.map_err(|e| Error::Usage(format!("signals cannot be listened to: {e}")))?;
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
