//! Private keys of ssh, as OpenSSH writes them, and signatures made with them.
//!
//! Format: `PROTOCOL.key` of OpenSSH; signatures: RFC 4253, 5656, 8332, 8709.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a file begins and ends with.
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// A key that can sign.
pub(crate) struct PrivateKey {
    /// The public key, as it goes over the wire.
    pub(crate) public: Vec<u8>,
    /// Who made it, mostly.
    pub(crate) comment: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    /// With the name of its curve.
    Ecdsa(EcdsaKeyPair, &'static str),
    Rsa(Box<RsaKeyPair>),
}

/// Why a text is no key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It has a passphrase.
    Encrypted,
    /// It is a key of an older form.
    OlderForm,
    /// It is of another kind, as those on hardware are.
    Kind,
    /// It is none.
    NoKey,
}

impl PrivateKey {
    /// Reads the content of a key file.
    pub(crate) fn parse(text: &str) -> Result<Self, Unusable> {
        let Some(start) = text.find(BEGIN) else {
            let encrypted = text.contains("BEGIN ENCRYPTED PRIVATE KEY")
                || text.contains("Proc-Type: 4,ENCRYPTED");
            return Err(match text.contains("PRIVATE KEY-----") {
                _ if encrypted => Unusable::Encrypted,
                true => Unusable::OlderForm,
                false => Unusable::NoKey,
            });
        };
        let body = text.get(start + BEGIN.len()..).and_then(|rest| rest.split(END).next());
        let body: String = body.unwrap_or_default().split_whitespace().collect();
        let bytes = STANDARD.decode(body).map_err(|_| Unusable::NoKey)?;
        Self::decode(&bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let mut outer = Fields(bytes.strip_prefix(MAGIC).ok_or(Unusable::NoKey)?);
        let (cipher, _, _) = (outer.string()?, outer.string()?, outer.string()?);
        if cipher != b"none" {
            return Err(Unusable::Encrypted);
        }
        if outer.number()? != 1 {
            return Err(Unusable::NoKey);
        }
        let public = outer.string()?.to_vec();
        let mut inner = Fields(outer.string()?);
        if inner.number()? != inner.number()? {
            return Err(Unusable::NoKey);
        }
        let pair = match inner.string()? {
            b"ssh-ed25519" => {
                let (point, secret) = (inner.string()?, inner.string()?);
                let seed = secret.get(..32).ok_or(Unusable::NoKey)?;
                let pair = Ed25519KeyPair::from_seed_and_public_key(seed, point);
                Pair::Ed25519(pair.map_err(|_| Unusable::NoKey)?)
            }
            b"ecdsa-sha2-nistp256" => ecdsa(&mut inner, "nistp256")?,
            b"ecdsa-sha2-nistp384" => ecdsa(&mut inner, "nistp384")?,
            b"ecdsa-sha2-nistp521" => ecdsa(&mut inner, "nistp521")?,
            b"ssh-rsa" => rsa(&mut inner)?,
            _ => return Err(Unusable::Kind),
        };
        Ok(Self { public, comment: inner.string()?.to_vec(), pair })
    }

    /// The signature of some bytes as it goes over the wire; `None` where `flags` ask for a way that is not known, as for
    /// RSA with SHA-1.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let mut out = Vec::new();
        match &self.pair {
            Pair::Ed25519(pair) => {
                put(&mut out, b"ssh-ed25519");
                put(&mut out, pair.sign(data).as_ref());
            }
            Pair::Ecdsa(pair, curve) => {
                let signature = pair.sign(&random, data).ok()?;
                let (one, other) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                let mut both = Vec::new();
                put_integer(&mut both, one);
                put_integer(&mut both, other);
                put(&mut out, format!("ecdsa-sha2-{curve}").as_bytes());
                put(&mut out, &both);
            }
            Pair::Rsa(pair) => {
                let (name, padding): (&[u8], &'static dyn RsaEncoding) = match flags {
                    2 => (b"rsa-sha2-256", &RSA_PKCS1_SHA256),
                    4 | 6 => (b"rsa-sha2-512", &RSA_PKCS1_SHA512),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                put(&mut out, name);
                put(&mut out, &signature);
            }
        }
        Some(out)
    }
}

fn ecdsa(fields: &mut Fields<'_>, curve: &'static str) -> Result<Pair, Unusable> {
    if fields.string()? != curve.as_bytes() {
        return Err(Unusable::NoKey);
    }
    let (point, secret) = (fields.string()?, integer(fields.string()?));
    let (algorithm, length) = match curve {
        "nistp256" => (&ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        "nistp384" => (&ECDSA_P384_SHA384_FIXED_SIGNING, 48),
        _ => (&ECDSA_P521_SHA512_FIXED_SIGNING, 66),
    };
    let missing = usize::checked_sub(length, secret.len()).ok_or(Unusable::NoKey)?;
    let secret = [&vec![0; missing], secret].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, point);
    Ok(Pair::Ecdsa(pair.map_err(|_| Unusable::NoKey)?, curve))
}

fn rsa(fields: &mut Fields<'_>) -> Result<Pair, Unusable> {
    let mut next = || fields.string().map(integer);
    let public_key = PublicKeyComponents { n: next()?, e: next()? };
    let (secret, inverse, one, other) = (next()?, next()?, next()?, next()?);
    let (first, second) = (remainder(secret, one)?, remainder(secret, other)?);
    let components = KeyPairComponents {
        public_key,
        d: secret,
        p: one,
        q: other,
        dP: first.as_slice(),
        dQ: second.as_slice(),
        qInv: inverse,
    };
    let pair = RsaKeyPair::from_components(&components).map_err(|_| Unusable::NoKey)?;
    Ok(Pair::Rsa(Box::new(pair)))
}

/// An integer without the zeros before it.
fn integer(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// `d` modulo `prime` less one, which OpenSSH leaves out of a file: bit by bit, for numbers of at most 1024 bytes.
fn remainder(d: &[u8], prime: &[u8]) -> Result<Vec<u8>, Unusable> {
    let mut modulus = prime.to_vec();
    // A prime is odd, so that nothing is borrowed.
    match modulus.last_mut() {
        Some(last) if *last % 2 == 1 && d.len() <= 1024 && prime.len() <= 1024 => *last -= 1,
        _ => return Err(Unusable::NoKey),
    }
    // One byte more than the modulus, for what is shifted out of it.
    let modulus = [&[0], modulus.as_slice()].concat();
    let mut rest = vec![0_u8; modulus.len()];
    for bit in d.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        if rest >= modulus {
            let mut borrow = false;
            for (byte, less) in rest.iter_mut().zip(&modulus).rev() {
                let (value, one) = byte.overflowing_sub(*less);
                let (value, two) = value.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (value, one || two);
            }
        }
    }
    Ok(rest)
}

/// Fields of ssh's encoding, one after another.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn number(&mut self) -> Result<u32, Unusable> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Unusable::NoKey)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Unusable> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (string, rest) = self.0.split_at_checked(length).ok_or(Unusable::NoKey)?;
        self.0 = rest;
        Ok(string)
    }
}

/// Appends a string with its length.
pub(crate) fn put(out: &mut Vec<u8>, string: &[u8]) {
    out.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(string);
}

/// Appends a positive integer: one with its highest bit set gets a zero before it.
fn put_integer(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = integer(bytes);
    let sign: &[u8] = if bytes.first().is_some_and(|first| *first > 127) { &[0] } else { &[] };
    put(out, &[sign, bytes].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_division() {
        for (d, prime) in [(1_000_003_u32, 251_u32), (65_535, 65_521), (5, 251), (u32::MAX, 3)] {
            let found = remainder(&d.to_be_bytes(), integer(&prime.to_be_bytes())).unwrap();
            let found = found.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            assert_eq!(found, d % (prime - 1), "{d} {prime}");
        }
        assert!(remainder(&[1], &[]).is_err() && remainder(&[1], &[4]).is_err());
        assert!(remainder(&[1; 1025], &[3]).is_err());
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let key = |body: &[u8]| format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(body));
        for (text, why) in [
            (String::new(), Unusable::NoKey),
            ("-----BEGIN RSA PRIVATE KEY-----\n".to_owned(), Unusable::OlderForm),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n".to_owned(), Unusable::Encrypted),
            (BEGIN.to_owned(), Unusable::NoKey),
            (key(MAGIC), Unusable::NoKey),
            (key(b"openssh-key-v1\0\xff\xff\xff\xff"), Unusable::NoKey),
            (key(&[MAGIC, b"\0\0\0\x01x\0\0\0\0\0\0\0\0"].concat()), Unusable::Encrypted),
        ] {
            assert_eq!(PrivateKey::parse(&text).err(), Some(why), "{text}");
        }
    }
}
