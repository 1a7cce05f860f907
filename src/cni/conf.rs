//! The network configuration on standard input.

use std::io::Read;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cni::any_case;
use crate::cni::env::is_identifier;
use crate::cni::failure::Failure;
use crate::cni::result::Made;
use crate::cni::version::Version;

/// The longest configuration that is read, in bytes. Thousands of published ports take some 100 kB.
const LONGEST: u64 = 16 << 20;

/// The configuration: what every type reads, and the document for what a type reads of its own.
#[derive(Debug, Clone)]
pub struct Conf {
    /// The version that the configuration is written in; the result is given in it too.
    pub version: Version,
    /// The network's name. Empty only where a verb needs none.
    pub name: String,
    /// The whole document.
    pub document: Map<String, Value>,
    /// The document as it came, for delegates.
    pub text: Vec<u8>,
    /// What the plugins before this one in the chain have made.
    pub prev_result: Option<Made>,
}

impl Conf {
    /// Decodes a type's own keys. As existing configurations rely on it, keys match whatever their
    /// case, `null` is as if the key were absent, and unknown keys are ignored.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        any_case::decode_object(&self.document).map_err(Failure::decode)
    }

    /// The member of this name, whatever its case.
    pub fn get(&self, key: &str) -> Option<&Value> {
        any_case::member(&self.document, key)
    }

    /// Decodes `runtimeConfig`: what the runtime adds to the configuration for this container. An
    /// absent one is decoded as an empty one.
    pub fn runtime_config<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        decode_part("runtimeConfig", self.get("runtimeConfig"))
    }

    /// Decodes `args.cni`, what the operator adds for this container. An absent one is decoded as
    /// an empty one.
    pub fn cni_args<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let args = match self.get("args") {
            Some(Value::Object(args)) => any_case::member(args, "cni"),
            Some(_) => return Err(Failure::decode("args: is no object")),
            None => None,
        };
        decode_part("args.cni", args)
    }

    /// The attachments that a GC leaves alone, as container and interface; `None` if the caller
    /// names none, which is not the same as an empty list.
    pub fn valid_attachments(&self) -> Result<Option<Vec<(String, String)>>, Failure> {
        let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let found = keys.into_iter().find_map(|key| Some((key, self.get(key)?)));
        let Some((key, value)) = found else {
            return Ok(None);
        };
        let all: Vec<Valid> = any_case::decode(value).map_err(|e| in_part(key, &e))?;
        Ok(Some(all.into_iter().map(|one| (one.container_id, one.ifname)).collect()))
    }
}

#[derive(Deserialize)]
struct Valid {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// As [`Conf::decode`], of any part of a document.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    any_case::decode(&value).map_err(Failure::decode)
}

fn decode_part<T: DeserializeOwned>(name: &str, part: Option<&Value>) -> Result<T, Failure> {
    match part {
        Some(part) => any_case::decode(part),
        None => any_case::decode_object(&Map::new()),
    }
    .map_err(|e| in_part(name, &e))
}

fn in_part(name: &str, error: &str) -> Failure {
    Failure::decode(format!("{name}: {error}"))
}

/// A configuration of which only what is there for sure has been looked at: that it is JSON.
#[derive(Debug)]
pub struct Received {
    text: Vec<u8>,
    document: Map<String, Value>,
}

impl Received {
    /// Reads to the end.
    pub fn read(from: impl Read) -> Result<Self, Failure> {
        let mut text = Vec::new();
        from.take(LONGEST + 1).read_to_end(&mut text).map_err(|e| {
            Failure::new(Failure::IO, format!("read the network configuration: {e}"))
                .details("it is expected on standard input")
        })?;
        if text.len() as u64 > LONGEST {
            let why = format!("the network configuration is longer than {LONGEST} bytes");
            return Err(Failure::decode(why));
        }
        Self::parse(text)
    }

    fn parse(text: Vec<u8>) -> Result<Self, Failure> {
        let bad = |why: String| Failure::decode(format!("network configuration: {why}"));
        match serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))? {
            Value::Object(document) => Ok(Self { text, document }),
            // So that it has no name, which is what is told.
            Value::Null => Ok(Self { text, document: Map::new() }),
            _ => Err(bad("is no JSON object".to_owned())),
        }
    }

    /// The network's name, which every verb needs that reads a configuration.
    pub fn name(&self) -> Result<String, Failure> {
        let name = self.text_of("name")?;
        match name {
            "" => Err(Failure::config("missing network name")),
            name if !is_identifier(name) => {
                Err(Failure::config("invalid characters in network name").details(name))
            }
            name => Ok(name.to_owned()),
        }
    }

    /// The version, as text: empty if the configuration has none.
    pub fn version(&self) -> Result<&str, Failure> {
        self.text_of("cniVersion")
    }

    fn text_of(&self, key: &str) -> Result<&str, Failure> {
        match any_case::member(&self.document, key) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Failure::decode(format!("network configuration: {key} is no text"))),
        }
    }

    /// The configuration, now that it is known to be of this version.
    pub fn of_version(self, version: Version) -> Result<Conf, Failure> {
        let (name, prev_result) = (self.name()?, self.prev_result(version)?);
        let Self { text, document } = self;
        Ok(Conf { version, name, document, text, prev_result })
    }

    /// Whether there is no `prevResult`, or one that makes sense.
    pub fn has_readable_prev_result(&self, version: Version) -> bool {
        self.prev_result(version).is_ok()
    }

    fn prev_result(&self, version: Version) -> Result<Option<Made>, Failure> {
        any_case::member(&self.document, "prevResult")
            .map(|value| Made::from_prev_result(value, version))
            .transpose()
    }

    /// The same without the `prevResult`, also for delegates.
    #[must_use]
    pub fn without_prev_result(mut self) -> Self {
        self.document.retain(|key, _| !key.eq_ignore_ascii_case("prevResult"));
        if let Ok(text) = serde_json::to_vec(&self.document) {
            self.text = text;
        }
        self
    }
}

#[cfg(test)]
mod tests;
