//! `sharpbench report RUN --push-to-hub OWNER/NAME`: a run's plan, records and reports, as a folder of a repository on the hub.

use std::collections::HashSet;
use std::path::Path;

use bytesize::ByteSize;

use super::gather::{kept, stem};
use super::report::All;
use crate::error::{Error, Result};
use crate::hub::{NewFile, Repository, RepositoryName};
use crate::record::{Record, RunFolder, RunManifest};
use crate::suite::Cell;
use crate::word::is_plain;

/// The file that the hub shows on a repository's page.
const README: &str = "README.md";

/// Its text in a repository that has none.
const CARD: &str = "\
---
tags:
- sharpbench
configs:
- config_name: cells
  data_files: \"*/report-*.csv\"
---
# Runs of sharpbench

Comparisons of SGD, SAM and sparse SAM. Each folder is a run: its plan (`run.json`), a record of
each training (`cells`), and its report as a page, a table, CSV and JSON. To print the report of a
run that you have downloaded:

    sharpbench report FOLDER
";

/// Options of `report` that upload a run.
#[derive(clap::Args)]
pub(super) struct Push {
    /// Also upload the run's records and reports to a data set repository on the Hugging Face hub,
    /// which is created as private if it is missing. Needs HF_TOKEN, or `hf auth login`.
    #[arg(long, value_name = "OWNER/NAME", conflicts_with_all = ["margin", "target"])]
    push_to_hub: Option<RepositoryName>,
    /// Only list what --push-to-hub would upload; nothing is sent.
    #[arg(long, requires = "push_to_hub")]
    dry_run: bool,
}

impl Push {
    /// Uploads the run, if that was asked for.
    pub(super) fn run(&self, runs: &[impl AsRef<Path>], all: &All, records: &[&Record]) -> Result<()> {
        let Some(name) = &self.push_to_hub else { return Ok(()) };
        let [run] = runs else {
            return Err(Error::Usage("--push-to-hub uploads one run; repeat the command for each".into()));
        };
        let page = name.page()?;
        let folder = folder_name(run.as_ref(), &all.manifest);
        let mut files = RunFolder::at(run.as_ref()).plan_and_records(records)?;
        let reports = kept(&all.report, &all.manifest, records)?;
        files.extend(reports.into_iter().map(|(name, content)| (RunFolder::report_name(&name), content)));
        let mut files: Vec<NewFile> =
            files.into_iter().map(|(path, content)| NewFile { path: format!("{folder}/{path}"), content }).collect();
        if self.dry_run {
            super::tell(&listed(&files));
            super::tell(&format!("nothing was sent; without --dry-run, these files go to {page}"));
            return Ok(());
        }
        let repository = Repository::open(name, &super::tell)?;
        check_plan(&repository, &folder, &all.manifest)?;
        if repository.read(README)?.is_none() {
            files.push(NewFile { path: README.into(), content: CARD.into() });
        }
        repository.upload(files, &super::tell)?;
        super::tell(&format!("the run is at {page}/tree/main/{folder}"));
        Ok(())
    }
}

/// Refuses to mix this run with another one of the same folder name.
fn check_plan(repository: &Repository, folder: &str, manifest: &RunManifest) -> Result<()> {
    let Some(plan) = repository.read(&format!("{folder}/{}", RunFolder::PLAN))? else { return Ok(()) };
    let own: HashSet<String> = manifest.cells.iter().map(Cell::id).collect();
    // A plan that was extended, as with --until, still has its cells.
    let is_same = std::str::from_utf8(&plan).is_ok_and(|text| {
        RunManifest::parse(text).is_ok_and(|there| there.cells.iter().all(|c| own.contains(&c.id())))
    });
    if is_same {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the folder {folder} of the repository holds another run; rename the run folder, or use another repository"
    )))
}

/// Files with their sizes, and the sum.
fn listed(files: &[NewFile]) -> String {
    let line = |bytes: usize, what: &str| format!("{:>9}  {what}", ByteSize(bytes as u64).display().si().to_string());
    let mut lines: Vec<String> = files.iter().map(|file| line(file.content.len(), &file.path)).collect();
    let sum = files.iter().map(|file| file.content.len()).sum();
    lines.push(line(sum, &format!("in {} files", files.len())));
    lines.join("\n")
}

/// Name of the run's folder in the repository: that of the run folder, or suite, profile and data set if it has other characters
/// than a name may have.
fn folder_name(run: &Path, manifest: &RunManifest) -> String {
    let real = run.canonicalize().ok();
    let own = real.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).filter(|name| is_plain(name));
    own.map_or_else(|| stem(manifest), str::to_owned)
}
