//! Peak resident memory of this process, where Linux tells it.

/// Starts a new peak. Where it cannot be reset, the peak is the process's so far.
pub(super) fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").ok();
}

/// The peak since the last reset, in bytes.
pub(super) fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
