//! How a container is connected: what is made before its command runs, and what is undone after it.

mod addresses;
mod attach;
pub mod files;
mod join;
mod pasta;
mod program;
mod slirp4netns;

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use netup::addr::HostAddr;

use crate::error::Result;
use crate::name::ContainerName;
use crate::request::{Helper, Net};
use crate::signals::Ending;

pub use attach::{Attached, discard, preview};
pub use join::open as open_netns;

/// Is told of each thing that is done, in the words of a command.
pub type Watch<'a> = &'a mut dyn FnMut(&str);

/// What the container's interface is called.
const INTERFACE: &str = "eth0";

/// A network namespace that is to be connected.
#[derive(Debug)]
pub struct Site<'a> {
    /// What the container is called.
    pub name: &'a ContainerName,
    /// A child in the namespace, or about to enter it, that has not been waited for.
    pub child: i32,
    /// The namespace, if it was made before the child, who is about to join it.
    pub netns: Option<OwnedFd>,
    /// Whether the namespace belongs to a user namespace of the child's.
    pub in_userns: bool,
    /// A folder of this user's that exists, for what is there for a moment only.
    pub folder: &'a Path,
    /// What ends every wait for a helper.
    pub(crate) ending: &'a Ending,
}

/// The network of a container, as long as it lives.
#[derive(Debug)]
pub struct Connected {
    addresses: Vec<HostAddr>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Nothing was made that does not go with the network namespace.
    Nothing,
    Veth(Box<attach::Attachment>),
    Pasta(Box<program::Process>),
    Slirp4netns(Box<slirp4netns::Slirp>),
}

/// Checks what can be known before anything is made.
///
/// # Errors
/// [`NotPermitted`](crate::ErrorKind::NotPermitted) for a veth pair without root,
/// [`MissingTool`](crate::ErrorKind::MissingTool) for a helper that is not installed,
/// [`NotFound`](crate::ErrorKind::NotFound) for a namespace that is not there,
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what a helper cannot do.
pub fn validate(net: &Net) -> Result<()> {
    match net {
        Net::None | Net::Host => Ok(()),
        Net::Join(path) => open_netns(path).map(drop),
        Net::Attach(network) => attach::validate(network),
        Net::Userspace { helper: Helper::Pasta, publish } => pasta::validate(publish).map(drop),
        Net::Userspace { helper: Helper::Slirp4netns, publish } => {
            slirp4netns::validate(publish).map(drop)
        }
    }
}

/// What [`connect`] will make that outlives this process: to be recorded before it is called.
#[must_use]
pub fn intent(net: &Net, name: &ContainerName) -> Option<Attached> {
    matches!(net, Net::Attach(_)).then(|| Attached::new(name.clone()))
}

/// Connects a network namespace. It comes about whole or not at all.
///
/// # Errors
/// [`Network`](crate::ErrorKind::Network) and others with the network's own words.
pub fn connect(net: &Net, site: Site<'_>, watch: Option<Watch<'_>>) -> Result<Connected> {
    let way = match net {
        Net::None | Net::Host | Net::Join(_) => {
            return Ok(Connected { addresses: Vec::new(), way: Way::Nothing });
        }
        Net::Attach(network) => return attach::attach(network, site, watch),
        Net::Userspace { helper: Helper::Pasta, publish } => {
            Way::Pasta(Box::new(pasta::connect(publish, &site, watch)?))
        }
        Net::Userspace { helper: Helper::Slirp4netns, publish } => {
            Way::Slirp4netns(Box::new(slirp4netns::connect(publish, &site, watch)?))
        }
    };
    Ok(Connected { addresses: addresses::of(site.child)?, way })
}

/// A command as one would type it.
fn words(program: &Path, arguments: &[OsString]) -> String {
    let words =
        std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

impl Connected {
    /// The container's addresses.
    #[must_use]
    pub fn addresses(&self) -> &[HostAddr] {
        &self.addresses
    }

    /// A helper process without which the container is cut off.
    #[must_use]
    pub fn helper_pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Nothing | Way::Veth(_) => None,
            Way::Pasta(process) => Some(process.pidfd()),
            Way::Slirp4netns(slirp) => Some(slirp.process().pidfd()),
        }
    }

    /// Undoes it. That something is gone already is no error.
    ///
    /// # Errors
    /// A refusal by the kernel, after everything else has been undone.
    pub fn disconnect(self) -> Result<()> {
        match self.way {
            // A helper is killed, and the rest goes with the network namespace.
            Way::Nothing | Way::Pasta(_) | Way::Slirp4netns(_) => Ok(()),
            Way::Veth(attachment) => attachment.detach(),
        }
    }
}
