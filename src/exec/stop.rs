//! Stop requests by signal. The first takes effect after the current step; a second ends the
//! process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Result};

/// Stop request of this process.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Signal received, 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens for SIGINT (Ctrl-C) and SIGTERM; a second signal ends the process at once.
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

    /// Listens for SIGINT and SIGTERM, and ignores repeated signals: a child may get one from its
    /// parent and one from whoever ends both.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn patiently() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            flag::register_usize(signal, stop.signal.clone(), signal as usize).map_err(unheard)?;
        }
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

fn unheard(error: std::io::Error) -> Error {
    Error::Usage(format!("cannot install the signal handlers: {error}"))
}
