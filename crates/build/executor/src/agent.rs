//! An ssh agent for keys in files: it tells which there are and signs with them, and knows nothing else.
//!
//! Protocol: `draft-miller-ssh-agent`.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::private_key::{Fields, PrivateKey, Unusable, put};

/// A key file is smaller.
const LARGEST_FILE: u64 = 64 << 10;
/// A request is smaller; it is OpenSSH's own bound.
const LARGEST_REQUEST: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Private keys that a step may sign with. They do not leave this process.
#[derive(Default)]
pub struct SshKeys(Vec<PrivateKey>);

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SshKeyError {
    /// It cannot be read.
    #[error("cannot read the ssh key {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be used.
    #[error("the ssh key {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
        /// A way out.
        hint: &'static str,
    },
}

impl fmt::Debug for SshKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} keys", self.0.len())
    }
}

impl SshKeys {
    /// Reads key files as OpenSSH writes them, without passphrases.
    pub fn read(paths: &[PathBuf]) -> Result<Self, SshKeyError> {
        paths.iter().map(|path| read(path)).collect::<Result<_, _>>().map(Self)
    }

    /// Answers a client until it is done.
    pub fn serve(&self, mut client: UnixStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            match client.read_exact(&mut length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
            let length = u32::from_be_bytes(length);
            if length == 0 || length > LARGEST_REQUEST {
                return Err(io::Error::other("a request is empty or too long"));
            }
            let mut request = vec![0; usize::try_from(length).unwrap_or_default()];
            client.read_exact(&mut request)?;
            let mut answer = Vec::new();
            put(&mut answer, &self.answer(&request).unwrap_or_else(|| vec![FAILURE]));
            client.write_all(&answer)?;
        }
    }

    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (kind, rest) = request.split_first()?;
        match *kind {
            REQUEST_IDENTITIES => {
                let mut out = vec![IDENTITIES_ANSWER];
                out.extend(u32::try_from(self.0.len()).ok()?.to_be_bytes());
                for key in &self.0 {
                    put(&mut out, &key.public);
                    put(&mut out, &key.comment);
                }
                Some(out)
            }
            SIGN_REQUEST => {
                let mut fields = Fields(rest);
                let (public, data) = (fields.string().ok()?, fields.string().ok()?);
                let flags = fields.number().ok()?;
                let key = self.0.iter().find(|key| key.public == public)?;
                let mut out = vec![SIGN_RESPONSE];
                put(&mut out, &key.sign(data, flags)?);
                Some(out)
            }
            _ => None,
        }
    }
}

fn read(path: &Path) -> Result<PrivateKey, SshKeyError> {
    let failed = |source| SshKeyError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = fs_err::File::open(path).map_err(failed)?;
    file.take(LARGEST_FILE).read_to_string(&mut text).map_err(failed)?;
    PrivateKey::parse(&text).map_err(|why| {
        let (reason, hint) = match why {
            Unusable::Encrypted => (
                "it has a passphrase",
                "start an ssh-agent, add the key with ssh-add, and pass --ssh default",
            ),
            Unusable::OlderForm => (
                "it is not in the form of OpenSSH",
                "write a copy of it anew with `ssh-keygen -p -N '' -f COPY`, or pass an agent",
            ),
            Unusable::Kind => (
                "only Ed25519, ECDSA and RSA keys are read",
                "start an ssh-agent, add the key with ssh-add, and pass --ssh default",
            ),
            Unusable::NoKey => ("it is no private key, or a damaged one", "name a private key"),
        };
        SshKeyError::Unusable { path: path.to_owned(), reason, hint }
    })
}
