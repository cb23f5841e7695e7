//! A run folder: records are published whole or not at all, the first writer wins, nothing finished is lost.
//!
//! ```text
//! run.json                          the plan: which cells belong to the run, on which data
//! cells/<data>-<optimizer>-<id>.json   one record per finished cell
//! weights/<data>-<optimizer>-<id>.safetensors   final weights, where asked for
//! failed/<data>-<optimizer>-<id>.json   why a cell's process ended without a record, where that happened
//! slurm/<submission>/               plan, script, program and logs of an array of jobs
//! checkpoints/<data>-<optimizer>-<id>.safetensors   a cell that is at work, or was when its process ended
//! locks/<id>                        held by the process that trains the cell
//! run.lock                          held by every process that works on the run
//! ```

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Failure, Provenance, Record, SCHEMA};
use crate::bounded;
use crate::error::{Error, Result};
use crate::suite::{Cell, is_plain};

/// Prefix of files that are being written.
const TEMPORARY: &str = ".tmp-";
/// Bytes of the longest plan that is read: some hundred thousand cells.
const LONGEST_PLAN: u64 = 256 << 20;
/// The same of a record: some ten thousand epochs.
const LONGEST_RECORD: u64 = 64 << 20;
/// The same of all records of a run.
const LONGEST_RUN: u64 = 4 << 30;
/// Age at which such a file must have been left by a killed process.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What a run is: enough to resume and to report without the suite file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// Version of the folder's shape.
    pub schema: u32,
    /// Suite name.
    pub suite: String,
    /// Profile name.
    pub profile: String,
    /// The data set really used.
    pub data: String,
    /// Whether that is a stand-in for the suite's own.
    pub stand_in: bool,
    /// SHA-256 of its images and labels.
    pub data_sha256: String,
    /// Hash of the whole profile's plan.
    pub suite_hash: String,
    /// Cells of the whole profile, of which a filter may have selected a part.
    #[serde(default)]
    pub profile_cells: Option<usize>,
    /// Cells of the run, in order.
    pub cells: Vec<Cell>,
}

impl RunManifest {
    /// From the text of a `run.json`.
    ///
    /// # Errors
    /// Says why it is no plan of this schema.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if let Some(other) = other_schema(text.as_bytes()) {
            return Err(other);
        }
        let manifest: Self = serde_json::from_str(text).map_err(|e| format!("damaged ({e})"))?;
        // They become parts of file names, which must not lead elsewhere.
        let own = [&manifest.suite, &manifest.profile, &manifest.data];
        if let Some(name) = own.into_iter().chain(manifest.cells.iter().map(|c| &c.data.name)).find(|n| !is_plain(n)) {
            return Err(format!("the name {name:?} does not consist of letters, digits, - and _"));
        }
        Ok(manifest)
    }
}

impl Record {
    /// From the bytes of a record's file.
    ///
    /// # Errors
    /// Says why they are no record of this schema.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        if let Some(other) = other_schema(bytes) {
            return Err(other);
        }
        let record: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        // They are printed, and must not steer a terminal.
        if record.told().any(|text| text.contains(char::is_control)) {
            return Err("its words hold a control character".into());
        }
        if record.id != record.cell.id() {
            return Err(format!("its id {} is not that of its cell ({})", record.id, record.cell.id()));
        }
        Ok(record)
    }

    /// The words of it that reports tell.
    fn told(&self) -> impl Iterator<Item = &String> {
        let Provenance { sharpbench, git_revision, crates, machine, gpu, .. } = &self.provenance;
        let own = [&self.suite, &self.profile, &self.suite_hash, &self.measures.fingerprint, &self.data.name];
        let program = [sharpbench, &machine.cpu, &machine.platform].into_iter().chain(git_revision).chain(gpu);
        own.into_iter().chain(program).chain(&machine.features).chain(crates.iter().flat_map(|(name, of)| [name, of]))
    }
}

/// A folder that holds one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// Held while a cell is trained, or cells are submitted; released when dropped or when the process dies.
pub struct CellLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Held by a process that works on a run; --fresh needs that nobody does.
pub struct RunLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// What a run folder knows of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellState {
    /// It has no record.
    Open,
    /// It has a readable record.
    Finished,
    /// Its record is damaged, for the reason given.
    Damaged(String),
}

/// What became of a record that was to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the cell's record now.
    First,
    /// Another process had published the cell before; that record stands.
    AlreadyThere,
}

/// All records of a folder.
#[derive(Debug, Default)]
pub struct Scan {
    /// Readable ones.
    pub records: Vec<Record>,
    /// Files that are no record of this schema, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

impl RunFolder {
    /// The folder at a path; nothing is created.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn manifest_path(&self) -> PathBuf {
        self.root.join("run.json")
    }

    fn cells_path(&self) -> PathBuf {
        self.root.join("cells")
    }

    fn checkpoint_path(&self, cell: &Cell) -> PathBuf {
        self.root.join("checkpoints").join(format!("{}.safetensors", file_stem(cell)))
    }

    fn record_path(&self, cell: &Cell) -> PathBuf {
        self.cells_path().join(format!("{}.json", file_stem(cell)))
    }

    /// Claims the folder for a process that works on its run; `fresh` removes the run it holds before.
    ///
    /// # Errors
    /// When the folder cannot be written, or is to be cleared while another process works in it.
    pub fn claim(&self, fresh: bool) -> Result<RunLock> {
        if let Some(other) = self.foreign_entry() {
            return Err(self.error(format!(
                "it holds {other} and no run.json, so it is no run folder; choose a new or empty folder with --out"
            )));
        }
        // A stranger's folder must not have files written or removed elsewhere.
        for part in ["cells", "locks", "weights", "checkpoints", "failed", "slurm"] {
            if self.root.join(part).is_symlink() {
                return Err(self.error(format!(
                    "its folder {part} is a link to elsewhere; link the whole run folder, or remove it"
                )));
            }
        }
        for folder in [self.root.clone(), self.cells_path(), self.root.join("locks")] {
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        let path = self.root.join("run.lock");
        let file = lock_file(&path)?;
        if fresh {
            match file.try_lock() {
                Ok(()) if self.manifest_path().exists() || self.record_paths()?.is_empty() => self.clear()?,
                Ok(()) => {
                    return Err(self
                        .error("--fresh would empty it, but it holds no run.json; remove it by hand if it is a run"));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(self.error("another process works on it; wait for it, or use another --out"));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            file.unlock().map_err(Error::io("unlock", &path))?;
        }
        where_there_are_locks(file.lock_shared()).map_err(Error::io("lock", &path))?;
        Ok(RunLock(file))
    }

    /// Something in a folder without a run that no run put there.
    fn foreign_entry(&self) -> Option<String> {
        let names = fs::read_dir(&self.root).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        let own = |name: &String| {
            ["cells", "locks", "weights", "checkpoints", "failed", "slurm", "run.lock"].contains(&name.as_str())
                || [TEMPORARY, "report-"].iter().any(|own| name.starts_with(own))
        };
        let foreign = names.filter(|name| !own(name)).min();
        // Looked for last: another process that starts the run may have written it meanwhile.
        foreign.filter(|_| !self.manifest_path().exists())
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::Run { path: self.root.clone(), message: message.into() }
    }

    /// Makes the folder this run's, or adds the selected cells to the run it holds. `plan` is of the whole profile: the
    /// run's cells keep its order whatever is selected.
    ///
    /// # Errors
    /// When it holds another suite, profile or data; when it cannot be written.
    pub fn open(&self, plan: &RunManifest, selected: &[Cell]) -> Result<RunManifest> {
        // Two processes that start at once must not overwrite each other's cells.
        let path = self.root.join("locks").join("plan");
        let lock = lock_file(&path)?;
        where_there_are_locks(lock.lock()).map_err(Error::io("lock", &path))?;
        self.sweep();
        let mut ids: HashSet<String> = selected.iter().map(Cell::id).collect();
        if let Some(old) = self.manifest()? {
            self.check_same(&old, plan)?;
            // Cells of an edited suite are judged anew.
            if old.suite_hash == plan.suite_hash {
                ids.extend(old.cells.iter().map(Cell::id));
            } else if !old.cells.iter().any(|cell| plan.cells.contains(cell)) {
                return Err(self.error(format!(
                    "it holds a run of another suite named {} (no cell in common); change the suite's name, use another \
                     --out, or --fresh to start anew",
                    old.suite
                )));
            }
        }
        let mut manifest = plan.clone();
        manifest.cells.retain(|cell| ids.contains(&cell.id()));
        self.write("run.json", to_json(&manifest))?;
        Ok(manifest)
    }

    /// Removes temporary files that killed processes left behind.
    fn sweep(&self) {
        for folder in [self.root.clone(), self.cells_path(), self.root.join("weights")] {
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
                "it holds {}-{}-{}, not {}-{}-{}; use another --out, or --fresh to start anew",
                old.suite, old.profile, old.data, new.suite, new.profile, new.data
            )));
        }
        let amount = |m: &RunManifest| m.cells.first().map(|c| c.data.clone());
        if amount(old) == amount(new) && old.data_sha256 != new.data_sha256 {
            return Err(self.error(format!(
                "its records were made with other {} images (sha256 {}, now {}); use another --out, or --fresh to start \
                 anew",
                old.data, old.data_sha256, new.data_sha256
            )));
        }
        Ok(())
    }

    /// What the folder says it is; none where there is no run.
    ///
    /// # Errors
    /// When `run.json` is damaged.
    pub fn manifest(&self) -> Result<Option<RunManifest>> {
        let path = self.manifest_path();
        let text = match file(&path).and_then(|()| bounded::read_to_string(&path, LONGEST_PLAN)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let damaged = |reason: String| Error::Run {
            path: path.clone(),
            message: format!(
                "{reason}; remove it and run the suite again (finished cells are kept), use another --out, or --fresh to start anew"
            ),
        };
        RunManifest::parse(&text).map(Some).map_err(damaged)
    }

    /// Removes the run the folder holds, and no file that is not of it.
    fn clear(&self) -> Result<()> {
        for submission in fs::read_dir(self.root.join("slurm")).into_iter().flatten().flatten() {
            if submission.path().join("submit.json").exists() {
                fs::remove_dir_all(submission.path()).map_err(Error::io("remove", submission.path()))?;
            }
        }
        let id = |name: &str| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
        type Rule<'r> = (PathBuf, &'r dyn Fn(&str) -> bool);
        let own: [Rule<'_>; 6] = [
            (self.cells_path(), &|n| n.ends_with(".json") || n.ends_with(".damaged") || n.starts_with(TEMPORARY)),
            (self.root.join("weights"), &|n| n.ends_with(".safetensors") || n.starts_with(TEMPORARY)),
            (self.root.join("checkpoints"), &|n| n.ends_with(".safetensors")),
            (self.root.join("failed"), &|n| n.ends_with(".json")),
            (self.root.join("locks"), &|n| id(n)),
            // Last: as long as it is there, the folder is known to be a run's.
            (self.root.clone(), &|n| n == "run.json" || n.starts_with("report-") || n.starts_with(TEMPORARY)),
        ];
        for (folder, is_own) in own {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if is_own(&entry.file_name().to_string_lossy()) {
                    fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
                }
            }
        }
        Ok(())
    }

    fn record_paths(&self) -> Result<Vec<PathBuf>> {
        let folder = self.cells_path();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &folder)(e)),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
        paths.sort();
        Ok(paths)
    }

    /// Reads every record; what is damaged is named, never taken for good.
    ///
    /// # Errors
    /// When the folder cannot be listed or a file cannot be read.
    pub fn scan(&self) -> Result<Scan> {
        let mut scan = Scan::default();
        let paths = self.record_paths()?;
        let lengths = paths.iter().map(|path| fs::metadata(path).map_or(0, |m| m.len()));
        if lengths.fold(0, u64::saturating_add) > LONGEST_RUN {
            return Err(self.error(format!(
                "its records are longer than {LONGEST_RUN} bytes together, the most that is read; report parts of it"
            )));
        }
        for path in paths {
            match read_record(&path)? {
                None => {}
                Some(Ok(record)) => scan.records.push(record),
                Some(Err(reason)) => scan.damaged.push((path, reason)),
            }
        }
        Ok(scan)
    }

    /// Adds the ids of those cells to `known` that have a readable record of the images with digest `data_sha256`; the records of known
    /// ones are not read again. The folder is listed: of a file on a network's disk that is just there, asking for it may deny it.
    ///
    /// # Errors
    /// When the folder cannot be listed or a record cannot be read.
    pub fn find_finished(&self, cells: &[Cell], data_sha256: &str, known: &mut HashSet<String>) -> Result<()> {
        let paths: HashSet<PathBuf> = self.record_paths()?.into_iter().collect();
        for cell in cells {
            let id = cell.id();
            if !known.contains(&id)
                && paths.contains(&self.record_path(cell))
                && self.state(cell, data_sha256)? == CellState::Finished
            {
                known.insert(id);
            }
        }
        Ok(())
    }

    /// Renames a cell's damaged record out of the way, so that it can be trained again. To be called by the holder of
    /// the cell's lock.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, cell: &Cell) -> Result<PathBuf> {
        let damaged = self.record_path(cell);
        let mut aside = damaged.with_extension("json.damaged");
        for n in 2.. {
            if !aside.exists() {
                break;
            }
            aside = damaged.with_extension(format!("json.{n}.damaged"));
        }
        fs::rename(&damaged, &aside).map_err(Error::io("rename", &damaged))?;
        Ok(aside)
    }

    /// What the folder knows of a cell of a run on the images with digest `data_sha256`.
    ///
    /// # Errors
    /// When its record is there but cannot be read.
    pub fn state(&self, cell: &Cell, data_sha256: &str) -> Result<CellState> {
        Ok(match read_record(&self.record_path(cell))? {
            None => CellState::Open,
            Some(Ok(record)) if record.data.sha256 == data_sha256 => CellState::Finished,
            Some(Ok(record)) => {
                CellState::Damaged(format!("it was made with other images, sha256 {}", record.data.sha256))
            }
            Some(Err(reason)) => CellState::Damaged(reason),
        })
    }

    /// Claims a cell for this process; none where another process is training it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, cell: &Cell) -> Result<Option<CellLock>> {
        self.lock_named(&cell.id())
    }

    /// Claims the right to submit cells for this process; none where another process is submitting.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock_submission(&self) -> Result<Option<CellLock>> {
        self.lock_named("submission")
    }

    fn lock_named(&self, name: &str) -> Result<Option<CellLock>> {
        let path = self.root.join("locks").join(name);
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(CellLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(Some(CellLock(file))),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path)(e)),
        }
    }

    /// Publishes a record atomically: written to a temporary file, synced, linked. The first writer wins.
    ///
    /// # Errors
    /// When the record cannot be written; nothing half-written is left under its name.
    pub fn publish(&self, record: &Record) -> Result<Published> {
        let path = self.record_path(&record.cell);
        let file = temporary(&self.cells_path(), &path, to_json(record).as_bytes())?;
        let published = match file.persist_noclobber(&path) {
            Ok(_) => Published::First,
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Published::AlreadyThere,
            Err(e) => return Err(Error::io("write", &path)(e.error)),
        };
        sync_folder(&self.cells_path());
        Ok(published)
    }

    /// Keeps a cell's final weights, as a safetensors file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_weights(&self, cell: &Cell, safetensors: &[u8]) -> Result<()> {
        self.write(&format!("weights/{}.safetensors", file_stem(cell)), safetensors)?;
        Ok(())
    }

    /// Keeps a cell at work, in place of where it was kept before.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before stays.
    pub fn write_checkpoint(&self, cell: &Cell, bytes: &[u8]) -> Result<()> {
        self.write(&format!("checkpoints/{}.safetensors", file_stem(cell)), bytes)?;
        Ok(())
    }

    /// Where a cell was kept, in at most `limit` bytes (asked for where there is a file), or why the file is no checkpoint; nothing where it was
    /// not kept.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn read_checkpoint(
        &self,
        cell: &Cell,
        limit: impl FnOnce() -> Result<u64>,
    ) -> Result<Option<std::result::Result<Vec<u8>, String>>> {
        let path = self.checkpoint_path(cell);
        let read = match file(&path) {
            Ok(()) => bounded::read(&path, limit()?),
            Err(e) => Err(e),
        };
        match read {
            Ok(bytes) => Ok(Some(Ok(bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(Some(Err(e.to_string()))),
            Err(e) => Err(Error::io("read", path)(e)),
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_checkpoint(&self, cell: &Cell) -> Result<()> {
        remove(&self.checkpoint_path(cell))
    }

    /// The record of a cell; none where it has no readable one.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn record(&self, cell: &Cell) -> Result<Option<Record>> {
        Ok(read_record(&self.record_path(cell))?.and_then(std::result::Result::ok))
    }

    fn failure_path(&self, cell: &Cell) -> PathBuf {
        self.root.join("failed").join(format!("{}.json", file_stem(cell)))
    }

    /// Notes why a cell has no record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_failure(&self, cell: &Cell, failure: &Failure) -> Result<()> {
        self.write(&format!("failed/{}.json", file_stem(cell)), to_json(failure))?;
        Ok(())
    }

    /// That note; none where there is none that can be read.
    pub fn failure(&self, cell: &Cell) -> Option<Failure> {
        serde_json::from_slice(&bounded::read(&self.failure_path(cell), LONGEST_RECORD).ok()?).ok()
    }

    /// Removes that note.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_failure(&self, cell: &Cell) -> Result<()> {
        remove(&self.failure_path(cell))
    }

    /// Writes a file of the run folder, or of a folder in it, atomically, replacing an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        write(&self.root, name, contents.as_ref())
    }
}

/// Writes a file of a folder, or of a folder in it, atomically, replacing an older one; through no link.
///
/// # Errors
/// When it cannot be written, or the folder in it is a link to elsewhere.
pub fn write(root: &Path, name: &str, contents: &[u8]) -> Result<PathBuf> {
    let path = root.join(name);
    let folder = path.parent().unwrap_or(root);
    if folder != root && folder.is_symlink() {
        return Err(Error::Run { path: folder.into(), message: "it is a link to elsewhere; remove it".into() });
    }
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let file = temporary(root, &path, contents)?;
    file.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
    sync_folder(folder);
    Ok(path)
}

fn file_stem(cell: &Cell) -> String {
    format!("{}-{}-{}", cell.data.name, cell.optimizer.name, cell.id())
}

fn to_json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// A file that is locked. Through a link one would be made elsewhere.
fn lock_file(path: &Path) -> Result<File> {
    if path.is_symlink() {
        return Err(Error::Run { path: path.into(), message: "it is a link to elsewhere; remove it".into() });
    }
    // NFS shares only locks of files that are open for reading.
    File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(Error::io("create", path))
}

/// Some file systems of clusters have no locks. There a cell may be trained twice, and the first record stands.
fn where_there_are_locks(locked: std::io::Result<()>) -> std::io::Result<()> {
    match locked {
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        locked => locked,
    }
}

/// A synced temporary file beside its destination. It removes itself unless persisted.
fn temporary(folder: &Path, destination: &Path, contents: &[u8]) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // As any other new file, not only for the owner; the umask applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let written = builder.tempfile_in(folder).and_then(|mut file| {
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    written.map_err(Error::io("write", destination))
}

/// Makes a rename durable. Some file systems cannot sync a folder; the record itself is safe then too.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

/// Refuses what is no file: a pipe would be waited for.
fn file(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.is_file() {
        return Ok(());
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no file"))
}

/// A record, or why the file is none; nothing where there is no file (any more).
///
/// # Errors
/// When the file cannot be read: it may be good, so it is not called damaged.
fn read_record(path: &Path) -> Result<Option<std::result::Result<Record, String>>> {
    let bytes = match file(path).and_then(|()| bounded::read(path, LONGEST_RECORD)) {
        Ok(bytes) => bytes,
        // Its name is taken all the same: no record could be published.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_symlink() => {
            return Ok(Some(Err("it is a link to nothing".into())));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Ok(Some(Err(e.to_string()))),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    Ok(Some(parse_record(path, &bytes)))
}

/// What to do about a file of another schema than this program's, by the version of the program that wrote it; nothing where it is of this one, or
/// does not say.
fn other_schema(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
        provenance: Option<Program>,
    }
    #[derive(Deserialize)]
    struct Program {
        sharpbench: String,
    }
    let Schema { schema, provenance } = serde_json::from_slice(bytes).ok()?;
    let program = provenance.map_or_else(String::new, |p| format!(" (sharpbench {})", p.sharpbench));
    match schema.cmp(&SCHEMA) {
        Ordering::Equal => None,
        Ordering::Less => Some(format!(
            "it is of schema {schema}, older than this program's {SCHEMA}: read it with the version that wrote it{program}, or train anew"
        )),
        Ordering::Greater => Some(format!(
            "it is of schema {schema}, newer than this program's {SCHEMA}: update sharpbench to the version that wrote it{program}"
        )),
    }
}

fn parse_record(path: &Path, bytes: &[u8]) -> std::result::Result<Record, String> {
    let record = Record::parse(bytes)?;
    let name = format!("{}.json", file_stem(&record.cell));
    if path.file_name().is_none_or(|n| n != name.as_str()) {
        return Err(format!("it is a copy: the record of its cell is named {name}"));
    }
    Ok(record)
}
