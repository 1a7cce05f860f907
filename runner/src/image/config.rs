//! What an image says of its command: the part of its configuration that a runner follows.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// What an image says of its command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// The words before the command's.
    pub entrypoint: Vec<String>,
    /// The command, or what the entry point gets.
    pub cmd: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
}

/// An image configuration file: image-spec/config.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) architecture: Option<String>,
    pub(super) os: Option<String>,
    config: Option<Execution>,
    rootfs: Option<Rootfs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Execution {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rootfs {
    diff_ids: Vec<String>,
}

impl ConfigFile {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::new(ErrorKind::BadImage, format!("the image's configuration: {error}"))
        })
    }

    /// The digests of its layers before compression, lowest first.
    pub(super) fn diff_ids(&self) -> &[String] {
        self.rootfs.as_ref().map_or(&[], |rootfs| &rootfs.diff_ids)
    }

    pub(super) fn into_config(self) -> Config {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let execution = self.config.unwrap_or_default();
        Config {
            env: execution.env.unwrap_or_default(),
            entrypoint: execution.entrypoint.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            workdir: given(execution.working_dir),
            user: given(execution.user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runner_follows_is_taken() {
        let file = br#"{"architecture": "amd64", "os": "linux", "history": [{}],
            "config": {"Env": ["A=b"], "Entrypoint": null, "Cmd": ["sh"], "WorkingDir": "",
                       "User": "33:0", "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:00"]}}"#;
        let file = ConfigFile::parse(file).unwrap();
        assert_eq!(file.diff_ids(), ["sha256:00"]);
        let config = file.into_config();
        assert_eq!((config.env, config.cmd), (vec!["A=b".to_owned()], vec!["sh".to_owned()]));
        assert_eq!((config.workdir, config.user.as_deref()), (None, Some("33:0")));
        assert!(config.entrypoint.is_empty());
    }
}
