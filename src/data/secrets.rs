//! Texts about the network without what lets one in: tokens, and the users and queries of addresses.

use std::path::PathBuf;

/// In place of a secret.
const HIDDEN: &str = "***";

/// A text of the hub, of its client or of the user's settings as it may be told and recorded.
pub(super) fn hidden(text: &str) -> String {
    tokens().iter().fold(addresses(text), |text, token| text.replace(token, HIDDEN))
}

/// The tokens that the client may have sent, wherever it finds them; a hub may send one back in what it says of a failure.
fn tokens() -> Vec<String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        Some(cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?.join("huggingface"))
    });
    let files = [variable("HF_TOKEN_PATH").map(PathBuf::from), home.map(|home| home.join("token"))];
    let kept = files.into_iter().flatten().filter_map(|path| std::fs::read_to_string(path).ok());
    let all = std::env::var("HF_TOKEN").into_iter().chain(kept);
    all.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()).collect()
}

/// The text with every address in it without user, password and query.
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
