//! CPU affinity of processes, where the system supports it.

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn available() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
    }

    pub(super) fn pin(cpus: &[usize]) -> bool {
        let mut set = CpuSet::new();
        cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(*cpu));
        sched_setaffinity(None, &set).is_ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn available() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn pin(_: &[usize]) -> bool {
        false
    }
}

/// CPUs this process may use; empty if unknown.
pub fn available() -> Vec<usize> {
    system::available()
}

/// Pins this thread, and threads it will start, to `cpus`; returns whether that succeeded.
pub fn pin(cpus: &[usize]) -> bool {
    system::pin(cpus)
}

/// Divides `all` CPUs equally among `jobs` processes; shares are empty if there are fewer CPUs than
/// processes.
pub(super) fn shares(all: &[usize], jobs: usize) -> Vec<Vec<usize>> {
    let each = all.len() / jobs.max(1);
    (0..jobs).map(|job| all[job * each..(job + 1) * each].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_apart() {
        assert_eq!(shares(&[0, 2, 4, 6, 7], 2), [vec![0, 2], vec![4, 6]]);
        assert!(shares(&[3], 2).iter().all(Vec::is_empty));
    }
}
