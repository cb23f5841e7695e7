//! Bounds on work that waits for a server.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Environment variable with the seconds that a server may be silent.
const VARIABLE: &str = "SHARPBENCH_HUB_TIMEOUT";
/// Its default: long enough for a hub behind a slow proxy.
const DEFAULT: u64 = 30;
/// Bytes that must come within that time: a server that sends less stalls too.
const LEAST: u64 = 32 << 10;

/// Bytes received so far: in all, and by counter. A counter that falls back has begun another file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<Mutex<(u64, HashMap<String, u64>)>>);

impl Received {
    /// Notes the state of a counter.
    pub(crate) fn note(&self, counter: &str, bytes: u64) {
        let (total, counters) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counters.insert(counter.into(), bytes).filter(|before| *before <= bytes).unwrap_or_default();
        *total += bytes - before;
    }

    fn bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Time that a server may be silent, from the environment.
///
/// # Errors
/// When the variable is no number of seconds above 0.
pub(crate) fn limit() -> Result<Duration> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(Duration::from_secs(DEFAULT));
    };
    let seconds = text.to_str().and_then(|text| text.parse::<u64>().ok()).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| {
        Error::Usage(format!("{VARIABLE} = {} must be a whole number of seconds above 0", text.to_string_lossy()))
    })
}

/// Runs `work` on a thread of its own and gives up when too few bytes come for `limit`. The thread is then left to itself: it waits
/// for a server, which nothing can interrupt, and ends with the process.
///
/// # Errors
/// Those of `work`, or [`Error::Hub`] when the server stalls.
pub(crate) fn watched<T: Send + 'static>(
    server: &str,
    limit: Duration,
    received: &Received,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()).ok());
    let (mut since, mut before) = (Instant::now(), received.bytes());
    loop {
        match receiver.recv_timeout(limit.saturating_sub(since.elapsed())) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if received.bytes() >= before + LEAST => {
                (since, before) = (Instant::now(), received.bytes());
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::Hub(format!(
                    "{server} did not answer, or too slowly, for {} seconds; {VARIABLE} sets how long to wait",
                    limit.as_secs()
                )));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Hub(format!("the request to {server} ended without an answer")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_takes_nothing_back() {
        let received = Received::default();
        for (counter, bytes, total) in [("a", 10, 10), ("", 100, 110), ("", 150, 160), ("", 5, 165), ("", 25, 185)] {
            received.note(counter, bytes);
            assert_eq!(received.bytes(), total);
        }
    }
}
