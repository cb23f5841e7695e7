//! Resident memory of processes, where Linux reports it.

/// Resets the peak; returns false if the system does not allow it.
pub(super) fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Peak since the last reset, in bytes.
pub fn peak_bytes() -> Option<u64> {
    status_bytes("self", "VmHWM:")
}

/// Current resident memory of a process, in bytes.
pub fn resident_bytes(process: u32) -> Option<u64> {
    status_bytes(&process.to_string(), "VmRSS:")
}

fn status_bytes(process: &str, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
