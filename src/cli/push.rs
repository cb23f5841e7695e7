//! `sharpbench report RUN --push-to-hub OWNER/NAME`: a run's plan, records and reports, as a folder of a repository on the hub.

use std::path::Path;

use bytesize::ByteSize;

use super::gather::{kept, stem};
use super::report::All;
use crate::error::{Error, Result};
use crate::hub::{HubFile, RepositoryName, Upload, upload};
use crate::record::{Record, RunFolder, RunManifest};
use crate::word::is_plain;

/// README.md of a repository that has none.
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

/// Where to, and whether really.
#[derive(clap::Args)]
pub(super) struct Push {
    /// Also upload the run's records and reports to a data set repository on the Hugging Face hub,
    /// which is made, private, if it is missing. HF_TOKEN holds the token.
    #[arg(long, value_name = "OWNER/NAME")]
    push_to_hub: Option<RepositoryName>,
    /// Only list what --push-to-hub would upload; nothing is sent.
    #[arg(long, requires = "push_to_hub")]
    dry_run: bool,
}

impl Push {
    /// Uploads what was asked for, if anything.
    pub(super) fn run(&self, runs: &[impl AsRef<Path>], all: &All, records: &[&Record]) -> Result<()> {
        let Some(repository) = &self.push_to_hub else { return Ok(()) };
        let [run] = runs else {
            return Err(Error::Usage("--push-to-hub uploads one run; repeat the command for each".into()));
        };
        let folder = RunFolder::at(run.as_ref());
        let name = folder_name(run.as_ref(), &all.manifest);
        let mut files = folder.plan_and_records(records)?;
        let reports = kept(&all.report, &all.manifest, records)?;
        files.extend(reports.into_iter().map(|(name, content)| (RunFolder::report_name(&name), content)));
        let files = files.into_iter().map(|(path, content)| HubFile { path: format!("{name}/{path}"), content });
        let upload_of = Upload { repository: repository.clone(), files: files.collect(), card: CARD.into() };
        let page = upload_of.page()?;
        if self.dry_run {
            super::tell(&listed(&upload_of.files));
            super::tell(&format!("nothing was sent; without --dry-run, these files go to {page}"));
            return Ok(());
        }
        upload(&upload_of, &super::tell)?;
        super::tell(&format!("the run is at {page}/tree/main/{name}"));
        Ok(())
    }
}

/// Files with their sizes, and the sum.
fn listed(files: &[HubFile]) -> String {
    let line = |bytes: usize, what: &str| format!("{:>9}  {what}", ByteSize(bytes as u64).display().si().to_string());
    let mut lines: Vec<String> = files.iter().map(|file| line(file.content.len(), &file.path)).collect();
    let sum = files.iter().map(|file| file.content.len()).sum();
    lines.push(line(sum, &format!("in {} files", files.len())));
    lines.join("\n")
}

/// The run's folder in the repository: its own name, or what it is of where that is no plain word.
fn folder_name(run: &Path, manifest: &RunManifest) -> String {
    let real = run.canonicalize().ok();
    let own = real.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).filter(|name| is_plain(name));
    own.map_or_else(|| stem(manifest), str::to_owned)
}
