//! What the store writes down about an image.

use std::fmt;
use std::fs::File;
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::Config;
use crate::error::{Error, ErrorKind, Result};

/// The version of this format.
const VERSION: u32 = 1;

/// An image, as its file in the store has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    version: u32,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Bytes of its files, if they were counted.
    pub(crate) size: Option<u64>,
    /// Topmost first.
    pub(crate) layers: Vec<LayerEntry>,
    pub(crate) config: Config,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerEntry {
    pub(crate) id: LayerId,
    pub(crate) marks: Marks,
}

/// How a layer says that it hides something below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Marks {
    /// It lies above nothing.
    None,
    /// Overlayfs wrote `trusted.overlay.*`, which is not seen in a user namespace.
    Trusted,
    /// Overlayfs wrote `user.overlay.*`.
    User,
}

/// The name of a layer's folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct LayerId(String);

impl LayerId {
    /// One that nothing has yet.
    pub(crate) fn new() -> Result<Self> {
        let mut bytes = [0; 8];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(|error| Error::io("read /dev/urandom", &error))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl TryFrom<String> for LayerId {
    type Error = Error;

    /// It becomes part of a path.
    fn try_from(text: String) -> Result<Self> {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() == 16 && text.bytes().all(hex) {
            return Ok(Self(text));
        }
        Err(Error::new(ErrorKind::State, format!("{text:?} is no name of a layer")))
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Document {
    pub(crate) fn new(layers: Vec<LayerEntry>, config: Config, size: Option<u64>) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let created = now.map_or(0, |since| since.as_secs());
        Self { version: VERSION, created, size, layers, config }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = |error: serde_json::Error| {
            Error::new(ErrorKind::State, format!("not readable: {error}"))
        };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version != VERSION {
            let message =
                format!("its format is version {version}, and this program knows {VERSION}");
            return Err(Error::new(ErrorKind::State, message).hint("update netup-run"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("an image's text is plain data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_survives_its_file() {
        let layers = vec![LayerEntry { id: LayerId::new().unwrap(), marks: Marks::User }];
        let document = Document::new(layers, Config::default(), Some(7));
        let read = Document::parse(&document.to_bytes()).unwrap();
        assert_eq!((read.layers, read.size), (document.layers, Some(7)));
    }

    #[test]
    fn another_version_and_a_layer_elsewhere_are_refused() {
        let text = String::from_utf8(Document::new(vec![], Config::default(), None).to_bytes());
        let text = text.unwrap();
        assert!(
            Document::parse(text.replace("\"version\": 1", "\"version\": 2").as_bytes()).is_err()
        );
        for id in ["../../etc", "", "0123456789abcdeg", "0123456789ABCDEF"] {
            let layer = format!(r#""layers": [{{"id": "{id}", "marks": "none"}}]"#);
            let text = text.replace("\"layers\": []", &layer);
            assert!(Document::parse(text.as_bytes()).is_err(), "{id}");
        }
    }
}
