//! Removes credentials from messages about the network: tokens, and the users, passwords and
//! queries of URLs.

use std::path::PathBuf;

use super::{home, variable};
use crate::error::{Error, Result};

/// Replacement of a secret.
const HIDDEN: &str = "***";

/// Text of the hub, its client or the user's settings, made safe to print and record.
pub(crate) fn hidden(text: &str) -> String {
    tokens().iter().fold(addresses(text), |text, token| text.replace(token, HIDDEN))
}

/// Checks that the client will send a token.
///
/// # Errors
/// When there is none, or the environment forbids using it.
pub(crate) fn check_token() -> Result<()> {
    // Any text in this variable counts, for the client and for Python's `huggingface_hub`.
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() {
        return Err(Error::Usage(
            "HF_HUB_DISABLE_IMPLICIT_TOKEN forbids using the hub's token; unset it to upload".into(),
        ));
    }
    if tokens().is_empty() {
        let remedy = "set HF_TOKEN to one that may write, or run `hf auth login`";
        return Err(Error::Usage(format!("there is no token for the hub; {remedy}")));
    }
    Ok(())
}

/// Tokens that the client may have sent, from every place it reads. A hub may repeat one in an
/// error message.
fn tokens() -> Vec<String> {
    let files = [variable("HF_TOKEN_PATH").map(PathBuf::from), Some(home().join("token"))];
    let kept = files.into_iter().flatten().filter_map(|path| std::fs::read_to_string(path).ok());
    let all = std::env::var("HF_TOKEN").into_iter().chain(kept);
    all.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()).collect()
}

/// Removes user, password and query from every URL in a text.
fn addresses(text: &str) -> String {
    let mut parts = text.split("://");
    let mut told = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end =
            part.find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\'' | '<' | '>')).unwrap_or(part.len());
        let (address, rest) = part.split_at(end);
        let (address, has_query) = address.split_once('?').map_or((address, false), |(before, _)| (before, true));
        let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("***@", host));
        told.extend(["://", user, host, path, if has_query { "?***" } else { "" }, rest]);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_neither_users_nor_queries() {
        for (text, told) in [
            ("https://huggingface.co cannot be reached", "https://huggingface.co cannot be reached"),
            ("https://me:pass@hub:8080/a?token=x&y then", "https://***@hub:8080/a?*** then"),
            ("(url=http://a@b@c/d@e?f) and ftp://g", "(url=http://***@c/d@e?***) and ftp://g"),
            ("no address, only a question?", "no address, only a question?"),
            ("http://x?y", "http://x?***"),
        ] {
            assert_eq!(addresses(text), told);
        }
    }
}
