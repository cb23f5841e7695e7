//! Claims on a run folder: which processes may work in it, and on which run.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::files::{lock_file, to_json, where_there_are_locks};
use super::layout::{CELLS, LOCK, LOCKS, MANIFEST, REPORT, SUBFOLDERS, SUBMISSION, SUBMISSIONS, TEMPORARY, WEIGHTS};
use super::{RunFolder, RunManifest};
use crate::error::{Error, Result};
use crate::suite::Cell;

/// Age after which a temporary file counts as left by a killed process.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Shared lock of a process that works on a run; --fresh requires that no process holds it.
pub struct RunLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl RunFolder {
    /// Claims the folder for a process that works on its run. `fresh` first removes the run that
    /// the folder holds.
    ///
    /// # Errors
    /// When the folder cannot be written, or is to be cleared while another process works in it.
    pub fn claim(&self, fresh: bool) -> Result<RunLock> {
        if let Some(other) = self.foreign_entry() {
            return Err(self.error(format!(
                "it holds {other} and no run.json, so it is not a run folder; choose a new or empty folder with --out"
            )));
        }
        // An untrusted folder must not cause files to be written or removed elsewhere.
        for part in SUBFOLDERS {
            if self.subfolder(part).is_symlink() {
                return Err(self.error(format!(
                    "its folder {} is a symbolic link; link the whole run folder instead, or remove it",
                    part.name
                )));
            }
        }
        for folder in [self.path().to_path_buf(), self.subfolder(&CELLS), self.subfolder(&LOCKS)] {
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        let path = self.path().join(LOCK);
        let file = lock_file(&path)?;
        if fresh {
            match file.try_lock() {
                Ok(()) if self.manifest_path().exists() || self.record_paths()?.is_empty() => self.clear()?,
                Ok(()) => {
                    return Err(self
                        .error("--fresh would empty it, but it holds no run.json; remove it by hand if it is a run"));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self.error("another process is using it; wait for that process, or use another --out"));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            file.unlock().map_err(Error::io("unlock", &path))?;
        }
        where_there_are_locks(file.lock_shared()).map_err(Error::io("lock", &path))?;
        Ok(RunLock(file))
    }

    /// First entry in a folder without a run that does not belong to a run.
    fn foreign_entry(&self) -> Option<String> {
        let names = fs::read_dir(self.path()).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let own = |name: &String| {
            SUBFOLDERS.iter().map(|part| part.name).chain([LOCK]).any(|own| name == own)
                || [TEMPORARY, REPORT].iter().any(|own| name.starts_with(own))
        };
        let foreign = names.filter(|name| !own(name)).min();
        // Checked last: another process that starts the run may have written the plan in the
        // meantime.
        foreign.filter(|_| !self.manifest_path().exists())
    }

    /// Makes the folder this run's, or adds the selected cells to the run in it. `plan` covers the
    /// whole profile, and the run's cells keep its order whatever is selected. Cells that later looks have added stay.
    ///
    /// # Errors
    /// When the folder holds another suite, profile or data set, or cannot be written.
    pub fn open(&self, plan: &RunManifest, selected: &[Cell]) -> Result<RunManifest> {
        // Two processes that start at once must not overwrite each other's cells.
        let _lock = self.lock_plan()?;
        self.sweep();
        let mut ids: HashSet<String> = selected.iter().map(Cell::id).collect();
        let mut manifest = plan.clone();
        if let Some(old) = self.manifest()? {
            self.check_same(&old, plan)?;
            // After an edit of the suite, its earlier selection of cells is dropped.
            if old.suite_hash == plan.suite_hash {
                ids.extend(old.cells.iter().map(Cell::id));
                if old.looks.is_some() {
                    let profile: HashSet<String> = plan.cells.iter().map(Cell::id).collect();
                    manifest.cells.extend(old.cells.into_iter().filter(|cell| !profile.contains(&cell.id())));
                    manifest.looks = old.looks;
                }
            } else if !old.cells.iter().any(|cell| plan.cells.contains(cell)) {
                return Err(self.error(format!(
                    "it holds a run of another suite named {} (no cell in common); change the suite's name, use another \
                     --out, or --fresh to start over",
                    old.suite
                )));
            }
        }
        manifest.cells.retain(|cell| ids.contains(&cell.id()));
        self.write(MANIFEST, to_json(&manifest))?;
        Ok(manifest)
    }

    /// Locks the plan, until the file is dropped.
    fn lock_plan(&self) -> Result<File> {
        let path = self.subfolder(&LOCKS).join("plan");
        let lock = lock_file(&path)?;
        where_there_are_locks(lock.lock()).map_err(Error::io("lock", &path))?;
        Ok(lock)
    }

    /// Replaces the run's plan by one with more cells, unless another process has done so meanwhile; the plan that the run then has.
    ///
    /// # Errors
    /// When the plan cannot be read or written.
    pub fn replace(&self, old: &RunManifest, new: RunManifest) -> Result<RunManifest> {
        let _lock = self.lock_plan()?;
        match self.manifest()? {
            Some(present) if present != *old => Ok(present),
            _ => {
                self.write(MANIFEST, to_json(&new))?;
                Ok(new)
            }
        }
    }

    /// Removes temporary files left by killed processes.
    fn sweep(&self) {
        for folder in [self.path().to_path_buf(), self.subfolder(&CELLS), self.subfolder(&WEIGHTS)] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(TEMPORARY)) {
                let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    fs::remove_file(entry.path()).ok();
                }
            }
        }
    }

    fn check_same(&self, old: &RunManifest, new: &RunManifest) -> Result<()> {
        if (&old.suite, &old.profile, &old.data) != (&new.suite, &new.profile, &new.data) {
            return Err(self.error(format!(
                "it holds {}-{}-{}, not {}-{}-{}; use another --out, or --fresh to start over",
                old.suite, old.profile, old.data, new.suite, new.profile, new.data
            )));
        }
        let amount = |m: &RunManifest| m.cells.first().map(|c| c.data.clone());
        if amount(old) == amount(new) && old.data_sha256 != new.data_sha256 {
            return Err(self.error(format!(
                "its records were made with other {} images (sha256 {}, now {}); use another --out, or --fresh to start over",
                old.data, old.data_sha256, new.data_sha256
            )));
        }
        Ok(())
    }

    /// Removes the run in the folder, and no other files.
    fn clear(&self) -> Result<()> {
        for submission in fs::read_dir(self.subfolder(&SUBMISSIONS)).into_iter().flatten().flatten() {
            if submission.path().join(SUBMISSION).exists() {
                fs::remove_dir_all(submission.path()).map_err(Error::io("remove", submission.path()))?;
            }
        }
        for part in SUBFOLDERS {
            remove_files(&self.subfolder(part), part.owns)?;
        }
        // Last, since the plan identifies the folder as a run's.
        remove_files(self.path(), |n| n == MANIFEST || n.starts_with(REPORT) || n.starts_with(TEMPORARY))
    }
}

fn remove_files(folder: &Path, is_own: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_own(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    Ok(())
}
