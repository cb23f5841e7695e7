//! Final states of tasks that squeue no longer lists, from sacct, which many clusters do not
//! support.

use std::collections::HashMap;

use super::client::Slurm;

/// Final state of each task, by array and index.
type Fates = HashMap<(u64, usize), String>;

impl Slurm {
    /// Final states of the arrays' tasks, as far as accounting has them.
    pub(super) fn fates(&self, jobs: &[u64]) -> Fates {
        let list: Vec<String> = jobs.iter().map(u64::to_string).collect();
        let arguments = ["-X", "-D", "-P", "-n", "-o", "JobID,State,ExitCode", "-j", &list.join(",")];
        match self.ask("sacct", &arguments) {
            Ok(Ok(text)) => parse_sacct(&text),
            _ => Fates::new(),
        }
    }
}

fn parse_sacct(text: &str) -> Fates {
    let fate = |line: &str| {
        let mut parts = line.split('|');
        let (job, task) = parts.next()?.split_once('_')?;
        let (state, code) = (parts.next()?, parts.next()?);
        Some(((job.parse().ok()?, task.parse().ok()?), format!("{state}, exit code {code}")))
    };
    text.lines().filter_map(fate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_task_counts() {
        let fates = parse_sacct(
            "7_0|COMPLETED|0:0\n7_1|NODE_FAIL|1:0\n7_1|OUT_OF_MEMORY|0:125\n7_[2-3]|PENDING|0:0\nnonsense\n",
        );
        assert_eq!(fates.len(), 2);
        assert_eq!(fates[&(7, 1)], "OUT_OF_MEMORY, exit code 0:125");
    }
}
