//! Meaning of Slurm's job states, and of its reasons for pending.

/// Phase of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The task will run.
    Pending,
    /// The task is running or being cleaned up.
    Running,
    /// The task will not run again.
    Ended,
    /// A state unknown to this program; treated as in flight.
    Unknown,
}

/// Phase of a state in squeue's long form.
pub fn phase(state: &str) -> Phase {
    match state {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => {
            Phase::Pending
        }
        "RUNNING" | "COMPLETING" | "SUSPENDED" | "SIGNALING" | "STAGE_OUT" | "STOPPED" | "RESIZING" => Phase::Running,
        "COMPLETED" | "FAILED" | "CANCELLED" | "TIMEOUT" | "OUT_OF_MEMORY" | "NODE_FAIL" | "BOOT_FAIL" | "DEADLINE"
        | "PREEMPTED" | "REVOKED" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Phase::Ended,
        _ => Phase::Unknown,
    }
}

/// What to do about a task that would wait forever for this reason.
pub fn stuck(reason: &str) -> Option<&'static str> {
    // squeue writes some reasons as identifiers and some as text.
    let reason = reason.replace(' ', "").to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if is(&["launchfailedrequeuedheld", "jobheld"]) {
        Some("held: `scontrol release JOB` releases them")
    } else if is(&["dependencyneversatisfied"]) {
        Some("a job they depend on has failed: cancel and submit again")
    } else if is(&["badconstraints"]) {
        Some("no node fits: cancel, and submit with another --constraint, --gres, --cpus or --mem")
    } else if is(&["qosmax", "assocmax", "qosgrp", "assocgrp"]) {
        Some("a limit of the account or the QOS: wait, or request less")
    } else if is(&["partitiontimelimit", "partitionnodelimit", "invalidaccount", "invalidqos"]) {
        Some("the cluster does not allow it: cancel, and submit with another --partition, --account, --qos or --time")
    } else if is(&["reqnodenotavail", "partitiondown", "partitioninactive"]) {
        Some("nodes are down or reserved: ask the cluster's administrators, or use another --partition")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_reasons() {
        assert_eq!(phase("PENDING"), Phase::Pending);
        assert_eq!(phase("COMPLETING"), Phase::Running);
        assert_eq!(phase("NODE_FAIL"), Phase::Ended);
        assert_eq!(phase("A_WORD_OF_2030"), Phase::Unknown);
        assert!(stuck("(launch failed requeued held)").is_some_and(|s| s.contains("scontrol release")));
        assert!(stuck("JobHeldUser").is_some() && stuck("QOSMaxCpuPerUserLimit").is_some());
        assert!(stuck("Resources").is_none() && stuck("Priority").is_none() && stuck("BeginTime").is_none());
    }
}
