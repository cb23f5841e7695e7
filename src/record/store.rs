//! A run folder: records are published whole or not at all, the first writer wins, nothing finished is lost.

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

/// Bytes of the longest plan that is read: some hundred thousand cells.
const LONGEST_PLAN: u64 = 256 << 20;
/// Bytes of all records of a run that are read.
const LONGEST_RUN: u64 = 4 << 30;

/// A folder that holds one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

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

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// Whether it holds a run, readable or not.
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

    /// What the folder says it is; none where there is no run.
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
                "{reason}; remove it and run the suite again (finished cells are kept), use another --out, or --fresh to start anew"
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

    /// Publishes a record atomically: written to a temporary file, synced, linked. The first writer wins.
    ///
    /// # Errors
    /// When the record cannot be written; nothing half-written is left under its name.
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

    /// Keeps a cell's final weights, as a safetensors file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_weights(&self, cell: &Cell, safetensors: &[u8]) -> Result<()> {
        self.write(&WEIGHTS.file(cell), safetensors)?;
        Ok(())
    }

    /// Keeps a cell at work, in place of where it was kept before.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before stays.
    pub fn write_checkpoint(&self, cell: &Cell, bytes: &[u8]) -> Result<()> {
        self.write(&CHECKPOINTS.file(cell), bytes)?;
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

    /// Removes it.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_checkpoint(&self, cell: &Cell) -> Result<()> {
        remove(&self.root.join(CHECKPOINTS.file(cell)))
    }

    /// The record of a cell; none where it has no readable one.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn record(&self, cell: &Cell) -> Result<Option<Record>> {
        Ok(read_record(&self.record_path(cell))?.and_then(std::result::Result::ok))
    }

    /// Notes why a cell has no record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_failure(&self, cell: &Cell, failure: &Failure) -> Result<()> {
        self.write(&FAILED.file(cell), to_json(failure))?;
        Ok(())
    }

    /// That note; none where there is none that can be read.
    pub fn failure(&self, cell: &Cell) -> Option<Failure> {
        serde_json::from_slice(&bounded::read(&self.root.join(FAILED.file(cell)), LONGEST_RECORD).ok()?).ok()
    }

    /// Removes that note.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_failure(&self, cell: &Cell) -> Result<()> {
        remove(&self.root.join(FAILED.file(cell)))
    }

    /// The folder of all submissions to Slurm.
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

    /// Keeps a report beside the records.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_report(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        self.write(&format!("{REPORT}{name}"), contents)?;
        Ok(())
    }

    /// Writes a file of the run folder, or of a folder in it, atomically, replacing an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        write(&self.root, name, contents.as_ref())
    }
}
