//! SHA-256 digests, as image-spec/descriptor.md has them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};

/// A SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Where a layout has the blob of this digest.
    pub(super) fn blob(&self) -> String {
        format!("blobs/sha256/{}", self.hex())
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest that 64 hexadecimal digits are.
    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if hex.len() != 64 || !hex.bytes().all(digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Refuses content of another digest.
    pub(super) fn verify(&self, found: &Self, what: &str) -> Result<()> {
        if self == found {
            return Ok(());
        }
        let message = format!("{what} has the digest {found} and should have {self}");
        Err(Error::new(ErrorKind::BadImage, message).hint("fetch the image once more"))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.strip_prefix("sha256:").and_then(Self::from_hex).ok_or_else(|| {
            Error::new(ErrorKind::BadImage, format!("{text:?} is no SHA-256 digest"))
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

/// A digest in the making.
#[derive(Debug, Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"");
        assert!(digest.to_string().starts_with("sha256:e3b0c442"));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.verify(&Digest::of(b"x"), "it").is_err());
    }

    #[test]
    fn what_is_no_digest_becomes_no_path() {
        for wrong in ["sha256:../../../etc/passwd", "sha512:00", "", "sha256:E3B0"] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert!(format!("sha256:{}", "+1".repeat(32)).parse::<Digest>().is_err());
    }
}
