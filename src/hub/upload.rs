//! A data set repository of the hub that files are uploaded to, through hf-hub.

use std::time::Duration;

use hf_hub::repository::CommitOperation;
use hf_hub::{HFClientSync, HFError, HFRepositorySync, RepoTypeDataset};

use super::{Received, check_token, client, client_error, endpoint, hidden, is_offline, limit, reach, watched};
use crate::error::{Error, Result};

/// Maximum number of files in a commit, as the hub advises.
const FILES: usize = 100;
/// Maximum number of bytes in a commit, which is one request.
const BYTES: usize = 32 << 20;
/// Transfer rate of a slow connection.
const SLOW_BYTES_PER_SECOND: u64 = 64 << 10;

/// Name of a data set repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryName {
    owner: String,
    name: String,
}

impl std::str::FromStr for RepositoryName {
    type Err = String;

    /// Reads `owner/name`, by the rules of `huggingface_hub`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_name = |part: &str| {
            (1..=96).contains(&part.len())
                && part.chars().all(is_plain)
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !["..", "--"].iter().any(|double| part.contains(double))
                && ![".git", ".ipynb"].iter().any(|suffix| part.ends_with(suffix))
        };
        match text.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => {
                Ok(Self { owner: owner.into(), name: name.into() })
            }
            _ => Err("expected OWNER/NAME, such as my-name/sharpbench-runs: letters, digits, single -, _ and .".into()),
        }
    }
}

impl std::fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl RepositoryName {
    /// Address of the repository's page.
    ///
    /// # Errors
    /// When the hub's address in the environment is not an address.
    pub(crate) fn page(&self) -> Result<String> {
        Ok(format!("{}/datasets/{self}", hidden(&endpoint()?)))
    }
}

/// A file to upload.
pub(crate) struct NewFile {
    /// Its path in the repository.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) content: Vec<u8>,
}

/// A repository that exists and that this machine's token can reach.
pub(crate) struct Repository {
    endpoint: String,
    limit: Duration,
    name: RepositoryName,
}

impl Repository {
    /// Opens a repository; a missing one is created, private.
    ///
    /// # Errors
    /// When there is no token, the environment forbids the network, or the hub refuses or does not answer.
    pub(crate) fn open(name: &RepositoryName, say: &dyn Fn(&str)) -> Result<Self> {
        if is_offline() {
            return Err(Error::Usage("HF_HUB_OFFLINE forbids the network; unset it to upload".into()));
        }
        check_token()?;
        let repository = Self { endpoint: endpoint()?, limit: limit()?, name: name.clone() };
        repository.watched(0, reach)?;
        let id = name.to_string();
        let created = repository.ask(0, move |client, dataset| {
            if dataset.exists().send()? {
                return Ok(false);
            }
            client.create_repository().repo_id(&id).repo_type(RepoTypeDataset).private(true).exist_ok(true).send()?;
            Ok(true)
        })?;
        if created {
            say(&format!("created the private repository {}", repository.name.page()?));
        }
        Ok(repository)
    }

    /// Bytes of a file; `None` if the repository does not have it.
    ///
    /// # Errors
    /// When the hub refuses or does not answer.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let file = file.to_owned();
        self.ask(0, move |_, dataset| {
            if !dataset.file_exists().filename(&file).send()? {
                return Ok(None);
            }
            dataset.download_file_to_bytes().filename(file).send().map(|bytes| Some(bytes.to_vec()))
        })
    }

    /// Uploads files in as few commits as the bounds allow. Files of the same path are replaced.
    ///
    /// # Errors
    /// When the hub refuses or does not answer. Earlier commits remain, and the upload can be repeated.
    pub(crate) fn upload(&self, files: Vec<NewFile>, say: &dyn Fn(&str)) -> Result<()> {
        let commits = commits(files);
        let of = commits.len();
        for (number, files) in (1..).zip(commits) {
            let count = files.len();
            self.commit(files)?;
            say(&format!("uploaded {count} files, commit {number} of {of}"));
        }
        Ok(())
    }

    fn commit(&self, files: Vec<NewFile>) -> Result<()> {
        let bytes: usize = files.iter().map(|file| file.content.len()).sum();
        self.ask(bytes as u64, move |_, dataset| {
            let add = |file: NewFile| CommitOperation::add_bytes(file.path, file.content);
            let commit = dataset.create_commit().operations(files.into_iter().map(add).collect());
            commit.commit_message("Upload a run of sharpbench").send().map(drop)
        })
    }

    /// Asks the hub about the repository, through a client of its own. A request that sends `bytes` may take as long as a slow connection needs.
    fn ask<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&HFClientSync, &HFRepositorySync<RepoTypeDataset>) -> std::result::Result<T, HFError>
        + Send
        + 'static,
    ) -> Result<T> {
        let RepositoryName { owner, name } = self.name.clone();
        self.watched(bytes, move |endpoint| {
            let asked = client(endpoint).build_sync().and_then(|client| work(&client, &client.dataset(owner, name)));
            asked.map_err(client_error)
        })
    }

    fn watched<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let endpoint = self.endpoint.clone();
        let limit = self.limit + Duration::from_secs(bytes / SLOW_BYTES_PER_SECOND);
        watched(&hidden(&self.endpoint), limit, &Received::default(), move || work(&endpoint))
    }
}

/// Divides files into commits.
fn commits(files: Vec<NewFile>) -> Vec<Vec<NewFile>> {
    let mut commits: Vec<Vec<NewFile>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        match commits.last_mut() {
            Some(last) if last.len() < FILES && bytes + file.content.len() <= BYTES => {
                bytes += file.content.len();
                last.push(file);
            }
            _ => {
                bytes = file.content.len();
                commits.push(vec![file]);
            }
        }
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_hub() {
        for good in ["me/runs", "A-b.c_d/x1"] {
            assert_eq!(good.parse::<RepositoryName>().expect("a name").to_string(), good);
        }
        for bad in [
            "runs",
            "me/",
            "/runs",
            "me/a/b",
            "me/a b",
            "me/..",
            "me/-a",
            "me/a--b",
            "me/x.git",
            "me/x.ipynb",
            "me/a?x=y",
            "https://hub/me/a",
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn commits_hold_all_files_in_order_within_both_bounds() {
        let file = |i: usize, bytes: usize| NewFile { path: i.to_string(), content: vec![0; bytes] };
        let small: Vec<_> = (0..=FILES).map(|i| file(i, 1)).collect();
        let large = (0..3).map(|i| file(FILES + 1 + i, BYTES / 2 + 1));
        let commits = commits(small.into_iter().chain(large).collect());
        assert_eq!(commits.iter().map(Vec::len).collect::<Vec<_>>(), [FILES, 2, 1, 1]);
        let paths = commits.iter().flatten().map(|file| file.path.parse::<usize>().expect("a number"));
        assert!(paths.eq(0..FILES + 4));
    }
}
