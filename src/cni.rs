//! The CNI door: a container runtime starts the binary under a plugin's name, says what it wants in
//! the environment and on standard input, and reads the answer from standard output.
//!
//! Decoding ([`env`], [`conf`]) and encoding ([`result`], [`failure`]) are all that is CNI's own;
//! what a plugin type means is in [`types`], in terms of the library, and who gives out addresses
//! in [`ipam`].

pub mod any_case;
pub mod args;
pub mod capabilities;
pub mod conf;
pub mod door;
pub mod env;
pub mod failure;
pub mod ip;
pub mod ipam;
pub mod registry;
pub mod result;
pub mod serve;
pub mod types;
pub mod verb;
pub mod version;

use std::path::PathBuf;

use netup::ident::AttachmentId;
use netup::{ErrorKind, Target, TargetName};

use conf::Conf;
use env::Env;
use failure::Failure;

/// One call of a plugin, decoded and validated as far as every type does.
#[derive(Debug)]
pub struct Call {
    /// The type by whose name the binary was started.
    pub plugin: &'static str,
    /// The environment.
    pub env: Env,
    /// The network configuration.
    pub conf: Conf,
}

impl Call {
    /// The attachment that ADD, CHECK and DEL are about.
    pub fn id(&self) -> Result<AttachmentId, Failure> {
        let env = |e: netup::Error| Failure::environment(e.to_string());
        Ok(AttachmentId {
            container: self.env.container_id.parse().map_err(env)?,
            ifname: self.env.ifname.parse().map_err(env)?,
        })
    }

    /// The container's namespace, held open. It may be the plugin's own only if the runtime says
    /// that it may.
    pub fn target(&self) -> Result<Target, Failure> {
        Ok(self.open()?)
    }

    /// As [`Call::target`], where a namespace that is gone is no failure: none is named, nothing is
    /// at the path, or what is there is a plain file, as after the unmount of a named namespace.
    pub fn living_target(&self) -> Result<Option<Target>, Failure> {
        if self.env.netns.is_empty() {
            return Ok(None);
        }
        match self.open() {
            Ok(target) => Ok(Some(target)),
            Err(e) if matches!(e.kind(), ErrorKind::TargetNotFound | ErrorKind::NotANetns) => {
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn open(&self) -> netup::Result<Target> {
        // Always a path, also where the text looks like a PID.
        let name = TargetName::Path(PathBuf::from(&self.env.netns));
        Target::open_name(name, self.env.netns_override)
    }
}
