//! `sharpbench data list|fetch|verify`.

use std::fmt::Write;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::data::verify::{self, Verified};
use crate::data::{self, DATA_SETS, DataSetEntry, DataSource, Fetch, FileDigest};
use crate::error::{Error, Result};
use crate::terminal::{self, wrapped};

/// How every PNG file begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[derive(clap::Subcommand)]
pub(super) enum Args {
    /// List every data set and where it comes from.
    List,
    /// Fetch a data set from the hub into the cache and check it.
    Fetch {
        /// Name of the data set.
        name: String,
    },
    /// Read every sample of a data set and show counts, digests, class balance and unreadable
    /// files; also write a contact sheet of pictures.
    Verify {
        /// Name of the data set, or a directory that holds one.
        what: String,
        /// Where a named data set comes from: hub (cache first), stand-in, or a directory [default:
        /// hub, or the embedded data].
        #[arg(long, value_name = "SOURCE")]
        data: Option<DataSource>,
        /// Never use the network.
        #[arg(long)]
        offline: bool,
        /// Where to write the contact sheet [default: reports/contact-sheet-NAME.png].
        #[arg(long, value_name = "FILE.png")]
        contact_sheet: Option<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match args {
        Args::List => super::print(list()),
        Args::Fetch { name } => {
            let entry = data::find(name).map_err(Error::Usage)?;
            if entry.is_embedded() {
                return super::print(format!("{name} is part of the program; there is nothing to fetch\n"));
            }
            if entry.photographs {
                return Err(Error::Usage(format!("{name} is read from your own directory; there is nothing to fetch")));
            }
            let found = verified(entry, &DataSource::Hub, false)?;
            super::print(super::printable(&text(&found)))?;
            Ok(exit_code(&found))
        }
        Args::Verify { what, data, offline, contact_sheet } => {
            let (entry, source) = subject(what, data.as_ref())?;
            if let Some(path) = contact_sheet {
                check_sheet(path)?;
            }
            let found = verified(entry, &source, *offline)?;
            super::print(super::printable(&text(&found)))?;
            if let Some(sheet) = &found.contact_sheet {
                let path = contact_sheet.clone().unwrap_or_else(|| {
                    Path::new("reports").join(format!("contact-sheet-{}.png", found.provenance.name))
                });
                check_sheet(&path)?;
                super::write_file(&path, &verify::sheet_png(sheet)?)?;
                super::print(super::printable(&legend(&found, &path)))?;
            }
            Ok(exit_code(&found))
        }
    }
}

/// Refuses to replace a file that is no contact sheet.
fn check_sheet(path: &Path) -> Result<()> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PNG.len() as u64).read_to_end(&mut start));
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) if start == PNG => Ok(()),
        _ => Err(Error::Usage(format!(
            "{} is not a PNG file, so no contact sheet; choose another file with --contact-sheet",
            path.display()
        ))),
    }
}

fn exit_code(found: &Verified) -> ExitCode {
    if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_REGRESSION) }
}

/// The data set and its source: by name, or by what a directory holds.
fn subject(what: &str, source: Option<&DataSource>) -> Result<(&'static DataSetEntry, DataSource)> {
    let path = Path::new(what);
    let unknown = match data::find(what) {
        // Never a stand-in unasked: what is verified is what was named.
        Ok(entry) => return Ok((entry, source.cloned().unwrap_or(DataSource::Hub))),
        Err(unknown) => unknown,
    };
    if !path.is_dir() {
        let is_path = path.exists() || what.contains(std::path::MAIN_SEPARATOR);
        return Err(Error::Usage(if is_path {
            format!("{what} is not a directory; give the one that holds the data set's files")
        } else {
            format!("{unknown}, or a directory that holds one")
        }));
    }
    if source.is_some() {
        return Err(Error::Usage(format!(
            "--data does not apply to the directory {what}; name the data set, or leave it out"
        )));
    }
    Ok((verify::recognised(path)?, DataSource::Directory(path.into())))
}

fn verified(entry: &DataSetEntry, source: &DataSource, offline: bool) -> Result<Verified> {
    let warn = |message: &str| super::tell(&format!("warning: {message}"));
    let bar = std::io::stderr().is_terminal();
    verify::verify(entry, source, &Fetch { offline, bar, say: &super::tell, warn: &warn })
}

fn list() -> String {
    let width = terminal::width();
    let text = |entry: &DataSetEntry| {
        let line = |text: &str| wrapped(&format!("  {text}"), width, 4);
        let stand_in = (!entry.is_embedded())
            .then(|| line(&format!("stand-in: {}, unless the suite names another", entry.stand_in)));
        let from = line(&format!("from: {}", entry.origin));
        format!("{}\n{}{from}{}", entry.name, line(entry.about), stand_in.unwrap_or_default())
    };
    DATA_SETS.iter().map(text).collect()
}

fn text(found: &Verified) -> String {
    let mut text = String::new();
    let p = &found.provenance;
    let revision = p.revision.as_ref().map(|r| format!(", revision {r}")).unwrap_or_default();
    // Writing to a string cannot fail.
    writeln!(text, "{} from {}{revision}, {} classes", p.name, p.source, found.classes).ok();
    writeln!(text, "  sha256 of the samples {}", p.sha256).ok();
    for FileDigest { file, sha256 } in &p.files {
        writeln!(text, "  {sha256}  {file}").ok();
    }
    for (name, split) in ["training", "test"].into_iter().zip(&found.splits) {
        write!(text, "  {:<9}{} samples", name, split.samples).ok();
        if let Some(published) = split.published.filter(|published| *published != split.samples) {
            write!(text, " of the {published} published").ok();
        }
        if let (Some(least), Some(most)) = (split.by_class.iter().min(), split.by_class.iter().max()) {
            write!(text, ", {least} to {most} of each class").ok();
        }
        for class in split.by_class.iter().enumerate().filter(|(_, n)| **n == 0).map(|(class, _)| class).take(5) {
            write!(text, ", none of class {class}").ok();
        }
        text.push('\n');
        for message in split.unreadable.iter().take(10) {
            writeln!(text, "    {message}").ok();
        }
        if !split.unreadable.is_empty() {
            writeln!(text, "    {} samples cannot be read", split.unreadable.len()).ok();
        }
    }
    text
}

/// What the rows of the contact sheet are.
fn legend(found: &Verified, path: &Path) -> String {
    let mut text = format!("  pictures in {}: a row for each class, training left, test right\n", path.display());
    for (row, name) in found.class_names.iter().take(Verified::SHEET_ROWS).enumerate() {
        writeln!(text, "    row {:<3}{name}", row + 1).ok();
    }
    text
}
