//! Uploads to a data set repository of the hub, through hf-hub.

use std::time::Duration;

use hf_hub::repository::CommitOperation;
use hf_hub::{HFClientBuilder, HFClientSync, HFError, RepoTypeDataset};

use super::{Moved, client_error, endpoint, hidden, is_offline, limit, reach, secrets, watched};
use crate::error::{Error, Result};

/// Files in a commit, as the hub advises.
const FILES: usize = 100;
/// Bytes in a commit, which is one request.
const BYTES: usize = 32 << 20;
/// Bytes a second that even a slow connection sends.
const SLOWEST: u64 = 64 << 10;

/// A data set repository's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryName {
    owner: String,
    name: String,
}

impl std::str::FromStr for RepositoryName {
    type Err = String;

    /// Reads `owner/name` by the hub's rules.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_name = |part: &str| {
            (1..=96).contains(&part.len())
                && part.chars().all(is_plain)
                && !part.starts_with(['-', '.'])
                && !part.ends_with(['-', '.'])
                && !part.contains("..")
                && !part.contains("--")
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

/// A file of a repository.
#[derive(Clone)]
pub(crate) struct HubFile {
    /// Its path in the repository.
    pub(crate) path: String,
    /// What it contains.
    pub(crate) content: Vec<u8>,
}

/// What is uploaded, and where to.
pub(crate) struct Upload {
    /// The repository, which is made if it is missing, and then is private.
    pub(crate) repository: RepositoryName,
    /// Files, in the order in which they are committed; those of the same path are replaced.
    pub(crate) files: Vec<HubFile>,
    /// The repository's README.md, if it has none.
    pub(crate) card: String,
}

impl Upload {
    /// The repository's page.
    ///
    /// # Errors
    /// When the address of the hub that is set is no address.
    pub(crate) fn page(&self) -> Result<String> {
        Ok(format!("{}/datasets/{}", hidden(&endpoint()?), self.repository))
    }
}

/// Uploads files, in one commit or a few.
///
/// # Errors
/// When there is no token, the environment forbids the network, or the hub refuses or does not answer. What was committed before
/// stays; an upload of the same files may be repeated.
pub(crate) fn upload(upload: &Upload, say: &dyn Fn(&str)) -> Result<()> {
    if is_offline() {
        return Err(Error::Usage("HF_HUB_OFFLINE forbids the network; unset it to upload".into()));
    }
    if !secrets::has_token() {
        return Err(Error::Usage(
            "there is no token for the hub; set HF_TOKEN to one that may write, or run `hf auth login`".into(),
        ));
    }
    let hub = Hub { endpoint: endpoint()?, limit: limit()?, repository: upload.repository.clone() };
    let address = hub.endpoint.clone();
    hub.watched(0, move |_| reach(&address))?;
    if hub.make()? {
        say(&format!("made the private repository {}", upload.page()?));
    }
    let mut files = upload.files.clone();
    if !hub.has("README.md")? {
        files.push(HubFile { path: "README.md".into(), content: upload.card.clone().into_bytes() });
    }
    let commits = commits(files);
    for (number, files) in (1..).zip(&commits) {
        hub.commit(files.clone())?;
        say(&format!("uploaded {} files, commit {number} of {}", files.len(), commits.len()));
    }
    Ok(())
}

/// Cuts files into commits.
fn commits(files: Vec<HubFile>) -> Vec<Vec<HubFile>> {
    let mut commits: Vec<Vec<HubFile>> = Vec::new();
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

/// A repository on a hub that answers in time, or is given up.
struct Hub {
    endpoint: String,
    limit: Duration,
    repository: RepositoryName,
}

impl Hub {
    /// Makes the repository, private, if it is missing. Returns whether it was.
    fn make(&self) -> Result<bool> {
        let RepositoryName { owner, name } = self.repository.clone();
        self.ask(0, move |client| {
            if client.dataset(owner.clone(), name.clone()).exists().send()? {
                return Ok(false);
            }
            let id = format!("{owner}/{name}");
            client.create_repository().repo_id(&id).repo_type(RepoTypeDataset).private(true).exist_ok(true).send()?;
            Ok(true)
        })
    }

    fn has(&self, file: &str) -> Result<bool> {
        let (RepositoryName { owner, name }, file) = (self.repository.clone(), file.to_owned());
        self.ask(0, move |client| client.dataset(owner, name).file_exists().filename(&file).send())
    }

    fn commit(&self, files: Vec<HubFile>) -> Result<()> {
        let RepositoryName { owner, name } = self.repository.clone();
        let bytes: usize = files.iter().map(|file| file.content.len()).sum();
        self.ask(bytes as u64, move |client| {
            let add = |file: HubFile| CommitOperation::add_bytes(file.path, file.content);
            let dataset = client.dataset(owner, name);
            let commit = dataset.create_commit().operations(files.into_iter().map(add).collect());
            commit.commit_message("Upload a run of sharpbench").send().map(drop)
        })
    }

    /// Asks the hub through a client of its own. A request that sends `bytes` may take as long as a slow connection needs.
    fn ask<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(HFClientSync) -> std::result::Result<T, HFError> + Send + 'static,
    ) -> Result<T> {
        self.watched(bytes, move |endpoint| {
            let client = HFClientBuilder::new().endpoint(endpoint).retry_max_attempts(2).build_sync();
            client.and_then(work).map_err(client_error)
        })
    }

    fn watched<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce(&str) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let endpoint = self.endpoint.clone();
        let limit = self.limit + Duration::from_secs(bytes / SLOWEST);
        watched(&hidden(&self.endpoint), limit, &Moved::default(), move || work(&endpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_hubs() {
        for good in ["me/runs", "A-b.c_d/x1"] {
            assert_eq!(good.parse::<RepositoryName>().expect("a name").to_string(), good);
        }
        for bad in
            ["runs", "me/", "/runs", "me/a/b", "me/a b", "me/..", "me/-a", "me/a--b", "me/a?x=y", "https://hub/me/a"]
        {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn commits_hold_all_files_in_order_within_both_bounds() {
        let file = |i: usize, bytes: usize| HubFile { path: i.to_string(), content: vec![0; bytes] };
        let small: Vec<_> = (0..FILES + 1).map(|i| file(i, 1)).collect();
        let large = (0..3).map(|i| file(FILES + 1 + i, BYTES / 2 + 1));
        let commits = commits(small.into_iter().chain(large).collect());
        assert_eq!(commits.iter().map(Vec::len).collect::<Vec<_>>(), [FILES, 2, 1, 1]);
        let paths = commits.iter().flatten().map(|file| file.path.parse::<usize>().expect("a number"));
        assert!(paths.eq(0..FILES + 4));
    }
}
