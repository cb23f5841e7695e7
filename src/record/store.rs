//! A run folder: records are published whole or not at all, the first writer wins, nothing finished is lost.
//!
//! ```text
//! run.json                          the plan: which cells belong to the run, on which data
//! cells/<data>-<optimizer>-<id>.json   one record per finished cell
//! weights/<data>-<optimizer>-<id>.safetensors   final weights, where asked for
//! locks/<id>                        held by the process that trains the cell
//! ```

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Record, SCHEMA};
use crate::error::{Error, Result};
use crate::suite::Cell;

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
    /// Cells of the run, in order.
    pub cells: Vec<Cell>,
}

/// A folder that holds one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// Held while a cell is trained; released when dropped or when the process dies.
pub struct CellLock(#[expect(dead_code, reason = "the open file is the lock")] File);

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

    fn record_path(&self, cell: &Cell) -> PathBuf {
        self.cells_path().join(format!("{}.json", file_stem(cell)))
    }

    /// Opens the folder for training: creates it, or adds the manifest's cells to the run it holds.
    ///
    /// # Errors
    /// When it holds another suite, profile or data; when it cannot be written.
    pub fn open(&self, manifest: &RunManifest) -> Result<RunManifest> {
        for folder in [self.cells_path(), self.root.join("locks")] {
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        let merged = match self.manifest()? {
            None => manifest.clone(),
            Some(old) => self.merge(old, manifest)?,
        };
        self.write("run.json", to_json(&merged))?;
        Ok(merged)
    }

    /// Cells already in the run stay as long as the suite still has them; new ones are added.
    fn merge(&self, old: RunManifest, new: &RunManifest) -> Result<RunManifest> {
        let refuse = |message: String| Err(Error::Run { path: self.root.clone(), message });
        if (&old.suite, &old.profile, &old.data) != (&new.suite, &new.profile, &new.data) {
            return refuse(format!(
                "it holds {}-{}-{}, not {}-{}-{}; use another --out, or --fresh to start anew",
                old.suite, old.profile, old.data, new.suite, new.profile, new.data
            ));
        }
        if old.data_sha256 != new.data_sha256 {
            return refuse(format!(
                "its records were made with other {} images (sha256 {}, now {}); use another --out, or --fresh to start anew",
                old.data, old.data_sha256, new.data_sha256
            ));
        }
        let mut merged = new.clone();
        if old.suite_hash == new.suite_hash {
            let ids: Vec<String> = new.cells.iter().map(Cell::id).collect();
            merged.cells.extend(old.cells.into_iter().filter(|c| !ids.contains(&c.id())));
        }
        Ok(merged)
    }

    /// What the folder says it is; none where there is no run.
    ///
    /// # Errors
    /// When `run.json` is damaged.
    pub fn manifest(&self) -> Result<Option<RunManifest>> {
        let path = self.manifest_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let damaged = |message: String| Error::Run { path: path.clone(), message };
        let manifest: RunManifest = serde_json::from_str(&text).map_err(|e| {
            damaged(format!("damaged or of another version ({e}); use another --out, or --fresh to start anew"))
        })?;
        if manifest.schema != SCHEMA {
            return Err(damaged(format!(
                "its schema is {}, this program reads {SCHEMA}; use another --out, or --fresh to start anew",
                manifest.schema
            )));
        }
        Ok(Some(manifest))
    }

    /// Removes the run the folder holds, and nothing else.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self) -> Result<()> {
        for path in [self.cells_path(), self.root.join("locks"), self.root.join("weights")] {
            remove(&path, |p| fs::remove_dir_all(p))?;
        }
        let Ok(entries) = fs::read_dir(&self.root) else { return Ok(()) };
        let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
            if name(&path) == "run.json" || name(&path).starts_with("report-") {
                remove(&path, |p| fs::remove_file(p))?;
            }
        }
        Ok(())
    }

    /// Reads every record; what is damaged is named, never taken for good.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn scan(&self) -> Result<Scan> {
        let mut scan = Scan::default();
        let folder = self.cells_path();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(scan),
            Err(e) => return Err(Error::io("list", &folder)(e)),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
        paths.sort();
        for path in paths {
            match read_record(&path) {
                Ok(record) => scan.records.push(record),
                Err(reason) => scan.damaged.push((path, reason)),
            }
        }
        Ok(scan)
    }

    /// Renames a damaged record out of the way, so that its cell is trained again.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self, damaged: &Path) -> Result<PathBuf> {
        let aside = damaged.with_extension("json.damaged");
        fs::rename(damaged, &aside).map_err(Error::io("rename", damaged))?;
        Ok(aside)
    }

    /// Whether a cell has a readable record.
    pub fn has(&self, cell: &Cell) -> bool {
        read_record(&self.record_path(cell)).is_ok()
    }

    /// Claims a cell for this process; none where another process is training it.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, cell: &Cell) -> Result<Option<CellLock>> {
        let path = self.root.join("locks").join(cell.id());
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(CellLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
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
        let folder = self.root.join("weights");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        self.write(&format!("weights/{}.safetensors", file_stem(cell)), safetensors)?;
        Ok(())
    }

    /// Writes a file of the run folder atomically, replacing an older one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.root.join(name);
        let file = temporary(&self.root, &path, contents.as_ref())?;
        file.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
        sync_folder(&self.root);
        Ok(path)
    }
}

fn file_stem(cell: &Cell) -> String {
    format!("{}-{}-{}", cell.data.name, cell.optimizer.name, cell.id())
}

fn to_json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A synced temporary file beside its destination. It removes itself unless persisted.
fn temporary(folder: &Path, destination: &Path, contents: &[u8]) -> Result<NamedTempFile> {
    let error = |e| Error::io("write", destination)(e);
    let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder).map_err(error)?;
    let error = |e| Error::io("write", destination)(e);
    file.write_all(contents).and_then(|()| file.as_file().sync_all()).map_err(error)?;
    Ok(file)
}

/// Makes a rename durable. Some file systems cannot sync a folder; the record itself is safe then too.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    match how(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn read_record(path: &Path) -> std::result::Result<Record, String> {
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let record: Record = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if record.schema != SCHEMA {
        return Err(format!("its schema is {}, this program reads {SCHEMA}", record.schema));
    }
    if record.id != record.cell.id() {
        return Err(format!("its id {} is not that of its cell ({})", record.id, record.cell.id()));
    }
    Ok(record)
}
