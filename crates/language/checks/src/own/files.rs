//! What is copied and fetched.

use dockerfile::{CopyFiles, Dockerfile, Kind};
use report::Diagnostic;

use super::Uses;

/// Files that hold credentials, by the end of their path.
const SECRET_PATHS: [&str; 15] = [
    ".npmrc",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".git-credentials",
    ".aws/credentials",
    ".docker/config.json",
    ".dockercfg",
    ".kube/config",
    ".pgpass",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".vault-token",
];

pub(super) fn find(file: &Dockerfile, uses: &Uses, found: &mut Vec<Diagnostic>) {
    for (index, stage) in file.stages.iter().enumerate() {
        for instruction in &stage.body {
            match &instruction.kind {
                Kind::Copy(copy) if copy.from.is_none() && uses.in_result[index] => {
                    secrets(copy, found);
                }
                Kind::Add(copy) => {
                    if uses.in_result[index] {
                        secrets(copy, found);
                    }
                    downloads(copy, found);
                }
                _ => {}
            }
        }
    }
}

fn secrets(copy: &CopyFiles, found: &mut Vec<Diagnostic>) {
    for source in &copy.sources {
        let path = source.text.trim_matches(['"', '\'']).replace('\\', "/");
        if is_secret(&path) && !path.contains("://") {
            let message = format!("{path} holds credentials, and would stay in the image");
            found.push(Diagnostic::warning("SecretFileCopied", message, source.span).hint(
                "mount it where it is needed: RUN --mount=type=secret,id=NAME,target=PATH …",
            ));
        }
    }
}

fn is_secret(path: &str) -> bool {
    let path = path.to_lowercase();
    let ends_with = |known: &str| {
        path.strip_suffix(known).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    if SECRET_PATHS.into_iter().any(ends_with) {
        return true;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let private = |stem: &str| {
        let mut words = stem.split(['-', '_', '.']);
        words.any(|word| ["key", "privkey", "private"].contains(&word)) && !stem.contains("pub")
    };
    match name.rsplit_once('.') {
        Some((stem, "pem")) => private(stem),
        Some((stem, "p12" | "pfx" | "ppk")) => !stem.is_empty(),
        _ => false,
    }
}

fn downloads(copy: &CopyFiles, found: &mut Vec<Diagnostic>) {
    if copy.checksum.is_some() {
        return;
    }
    for source in &copy.sources {
        let address = source.text.trim_matches(['"', '\'']);
        let http = ["http://", "https://"].into_iter().any(|start| address.starts_with(start));
        let git =
            address.split('#').next().is_some_and(|path| path.rsplit('.').next() == Some("git"));
        if http && !git {
            let message = format!("nothing tells whether {address} still is what it was");
            found.push(
                Diagnostic::warning("UnpinnedDownload", message, source.span)
                    .hint("write ADD --checksum=sha256:…"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_and_certificates_are_none() {
        for secret in [
            ".npmrc",
            "config/.npmrc",
            "id_rsa",
            ".ssh/id_ed25519",
            ".aws/credentials",
            "tls/server-key.pem",
            "privkey.pem",
            "store.p12",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for other in [
            "ca.pem",
            "fullchain.pem",
            "public-key.pem",
            "id_rsa.pub",
            "npmrc",
            "my.npmrc.example",
            "*.pem",
            "credentials",
            "config.json",
            "keyboard.pem",
        ] {
            assert!(!is_secret(other), "{other}");
        }
    }
}
