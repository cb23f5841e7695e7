//! Run folders. Records are published atomically, the first writer wins, and nothing finished is
//! lost.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::{refuse_other_than_file, remove, sync_folder, temporary, to_json, write};
use super::layout::{CELLS, CHECKPOINTS, FAILED, MANIFEST, REPORT, SUBMISSIONS, Subfolder, WEIGHTS};
use super::parse::{LONGEST_RECORD, read_record};
use super::{Failure, Record, RunManifest};
use crate::bounded;
use crate::error::{Error, Result};
use crate::suite::Cell;

/// Maximum bytes of a plan, enough for some hundred thousand cells.
const LONGEST_PLAN: u64 = 256 << 20;
/// Maximum total bytes of a run's records.
const LONGEST_RUN: u64 = 4 << 30;

/// A folder that holds one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// State of a cell in a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellState {
    /// The cell has no record.
    Open,
    /// The cell has a readable record.
    Finished,
    /// The cell's record is damaged, for this reason.
    Damaged(String),
}

/// Outcome of publishing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is now the cell's record.
    First,
    /// Another process published the cell's record first; that record stands.
    AlreadyThere,
}

/// All records of a folder.
#[derive(Debug, Default)]
pub struct Scan {
    /// Readable records.
    pub records: Vec<Record>,
    /// Files that are not a record of this schema, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

impl RunFolder {
    /// Name of the plan's file.
    pub const PLAN: &'static str = MANIFEST;

    /// Run folder at a path; nothing is created.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// Whether the folder holds a run, readable or not.
    pub fn holds_run(&self) -> bool {
        self.manifest_path().is_file()
    }

    pub(super) fn subfolder(&self, part: &Subfolder) -> PathBuf {
        self.root.join(part.name)
    }

    fn record_path(&self, cell: &Cell) -> PathBuf {
        self.root.join(CELLS.file(cell))
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::Run { path: self.root.clone(), message: message.into() }
    }

    /// Plan of the run in the folder; `None` if there is no run.
    ///
    /// # Errors
    /// When `run.json` is damaged.
    pub fn manifest(&self) -> Result<Option<RunManifest>> {
        let path = self.manifest_path();
        let text = match refuse_other_than_file(&path).and_then(|()| bounded::read_to_string(&path, LONGEST_PLAN)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let damaged = |reason: String| Error::Run {
            path: path.clone(),
            message: format!(
                "{reason}; remove it and run the suite again (finished cells are kept), use another --out, or --fresh to start over"
            ),
        };
        RunManifest::parse(&text).map(Some).map_err(damaged)
    }

    pub(super) fn record_paths(&self) -> Result<Vec<PathBuf>> {
        let folder = self.subfolder(&CELLS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &folder)(e)),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == CELLS.extension));
        paths.sort();
        Ok(paths)
    }

    /// The files of the plan and of these records, as they are: their names in the folder and their contents.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn plan_and_records(&self, records: &[&Record]) -> Result<Vec<(String, Vec<u8>)>> {
        let plan = (MANIFEST.to_string(), LONGEST_PLAN);
        let files = records.iter().map(|record| (CELLS.file(&record.cell), LONGEST_RECORD));
        let read = |(name, longest): (String, u64)| {
            let path = self.root.join(&name);
            let bytes = refuse_other_than_file(&path).and_then(|()| bounded::read(&path, longest));
            Ok((name, bytes.map_err(Error::io("read", &path))?))
        };
        std::iter::once(plan).chain(files).map(read).collect()
    }

    /// Reads all records. Damaged ones are reported and never used.
    ///
    /// # Errors
    /// When the folder cannot be listed or a file cannot be read.
    pub fn scan(&self) -> Result<Scan> {
        let mut scan = Scan::default();
        let paths = self.record_paths()?;
        let lengths = paths.iter().map(|path| fs::metadata(path).map_or(0, |m| m.len()));
        if lengths.fold(0, u64::saturating_add) > LONGEST_RUN {
            return Err(self.error(format!(
                "its records are longer than {LONGEST_RUN} bytes in total, the limit; report parts of it"
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

    /// Adds to `known` the ids of cells that have a readable record for the images with digest
    /// `data_sha256`. Records of known cells are not read again. The folder is listed, because a
    /// direct look-up of a new file on a network disk may not find it.
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

    /// Renames a cell's damaged record, so that the cell can be trained again. The caller must hold
    /// the cell's lock.
    ///
    /// # Errors
    /// When the record cannot be renamed.
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

    /// State of a cell, for a run on the images with digest `data_sha256`.
    ///
    /// # Errors
    /// When the record exists but cannot be read.
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

    /// Publishes a record atomically: writes a temporary file, syncs it, and links it. The first
    /// writer wins.
    ///
    /// # Errors
    /// When the record cannot be written; no partial file remains under its name.
    pub fn publish(&self, record: &Record) -> Result<Published> {
        let path = self.record_path(&record.cell);
        let file = temporary(&self.subfolder(&CELLS), &path, to_json(record).as_bytes())?;
        let published = match file.persist_noclobber(&path) {
            Ok(_) => Published::First,
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Published::AlreadyThere,
            Err(e) => return Err(Error::io("write", &path)(e.error)),
        };
        sync_folder(&self.subfolder(&CELLS));
        Ok(published)
    }

    /// Writes a cell's final weights as a safetensors file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_weights(&self, cell: &Cell, safetensors: &[u8]) -> Result<()> {
        self.write(&WEIGHTS.file(cell), safetensors)?;
        Ok(())
    }

    /// Writes a cell's checkpoint, replacing the previous one.
    ///
    /// # Errors
    /// When it cannot be written; the previous checkpoint remains.
    pub fn write_checkpoint(&self, cell: &Cell, bytes: &[u8]) -> Result<()> {
        self.write(&CHECKPOINTS.file(cell), bytes)?;
        Ok(())
    }

    /// Reads a cell's checkpoint of at most `limit` bytes, or says why the file is not a
    /// checkpoint; `None` if there is none. `limit` is evaluated only if the file exists.
    ///
    /// # Errors
    /// When the file exists but cannot be read.
    pub fn read_checkpoint(
        &self,
        cell: &Cell,
        limit: impl FnOnce() -> Result<u64>,
    ) -> Result<Option<std::result::Result<Vec<u8>, String>>> {
        let path = self.root.join(CHECKPOINTS.file(cell));
        let read = match refuse_other_than_file(&path) {
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

    /// Removes a cell's checkpoint, if any.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_checkpoint(&self, cell: &Cell) -> Result<()> {
        remove(&self.root.join(CHECKPOINTS.file(cell)))
    }

    /// Record of a cell; `None` if it has no readable one.
    ///
    /// # Errors
    /// When the record exists but cannot be read.
    pub fn record(&self, cell: &Cell) -> Result<Option<Record>> {
        Ok(read_record(&self.record_path(cell))?.and_then(std::result::Result::ok))
    }

    /// Writes a cell's failure note.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_failure(&self, cell: &Cell, failure: &Failure) -> Result<()> {
        self.write(&FAILED.file(cell), to_json(failure))?;
        Ok(())
    }

    /// Failure note of a cell; `None` if there is no readable one.
    pub fn failure(&self, cell: &Cell) -> Option<Failure> {
        serde_json::from_slice(&bounded::read(&self.root.join(FAILED.file(cell)), LONGEST_RECORD).ok()?).ok()
    }

    /// Removes a cell's failure note, if any.
    ///
    /// # Errors
    /// When it exists and cannot be removed.
    pub fn remove_failure(&self, cell: &Cell) -> Result<()> {
        remove(&self.root.join(FAILED.file(cell)))
    }

    /// Folder of all submissions to Slurm.
    pub fn submissions(&self) -> PathBuf {
        self.subfolder(&SUBMISSIONS)
    }

    /// Writes a file of a submission's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_submission(&self, id: &str, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(&format!("{}/{id}/{name}", SUBMISSIONS.name), contents)?;
        Ok(())
    }

    /// Name of a report's file in the run folder.
    pub fn report_name(name: &str) -> String {
        format!("{REPORT}{name}")
    }

    /// Writes a report to the run folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_report(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(&Self::report_name(name), contents)?;
        Ok(())
    }

    /// Writes a file in the run folder or one of its subfolders atomically, replacing an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        write(&self.root, name, contents.as_ref())
    }
}
