//! By a veth pair, which the core makes.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use netup::ident::AttachmentId;
use netup::{Network, Request, Target, TargetName};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;
use crate::network::{Connected, INTERFACE, Site, Watch, Way};

/// The network that our attachments belong to. What somebody made by hand under a container's name
/// is not ours to remove.
const NETWORK: &str = "netup-run";

const WITHOUT_RIGHTS: &str = "as an ordinary user use --net pasta, which needs no rights";

/// What connects a container by a veth pair, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    container: ContainerName,
}

impl Attached {
    pub(super) fn new(container: ContainerName) -> Self {
        Self { container }
    }
}

/// A veth pair with all that belongs to it.
#[derive(Debug)]
pub struct Attachment {
    attached: Attached,
    child: i32,
    /// Holds the network namespace. If it went first, the kernel's own clearing away of it would
    /// keep us waiting for a lock that all changes of links share.
    _held: Target,
}

/// A veth pair takes rights over the host's network.
pub fn validate(network: &Network) -> Result<()> {
    network.validate()?;
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::NotPermitted,
            "only root can give a container addresses on the host's network",
        )
        .hint(WITHOUT_RIGHTS)),
    }
}

/// Connects a child by its process id: while it has not been waited for, the id is its own, and
/// other programs can make something of it in netup's records.
pub fn attach(network: &Network, site: Site<'_>, watch: Option<Watch<'_>>) -> Result<Connected> {
    let name = TargetName::Pid(site.child);
    let target = match site.netns {
        Some(netns) => Target::held(name, netns)?,
        None => Target::open_name(name, false)?,
    };
    let request = request(network, site.name, target)?;
    let outcome = match watch {
        // Steps are put into words only for someone who reads them.
        None => done(netup::attach(&request)),
        Some(watch) => done(netup::attach_watched(&request, &mut |progress| {
            progress.lines().iter().for_each(|line| watch(line));
            Ok(())
        })),
    };
    let outcome = outcome.map_err(explained)?;
    let attached = Attached::new(site.name.clone());
    Ok(Connected {
        addresses: outcome.attachment.addresses,
        way: Way::Veth(Box::new(Attachment { attached, child: site.child, _held: request.target })),
    })
}

/// What [`connect`](super::connect) would do to this child's network, as commands.
///
/// # Errors
/// As [`connect`](super::connect), as far as it can be known beforehand.
pub fn preview(network: &Network, name: &ContainerName, child: i32) -> Result<Vec<String>> {
    let target = Target::open_name(TargetName::Pid(child), false)?;
    done(netup::dry_run(&request(network, name, target)?)).map_err(explained)
}

fn request(network: &Network, name: &ContainerName, target: Target) -> Result<Request> {
    Ok(Request::new(target, network.clone())?
        .with_id(name.as_str().parse()?)
        .with_ifname(INTERFACE.parse()?)
        .of_network(NETWORK.parse()?)
        .fresh(true))
}

impl Attachment {
    pub fn detach(self) -> Result<()> {
        discard(&self.attached, self.child)
    }
}

/// Undoes what a record tells of, with this child; nothing if it never came about. A container of the
/// same name whose records are elsewhere keeps what it has.
///
/// # Errors
/// A refusal by the kernel, after everything else has been undone.
pub fn discard(attached: &Attached, child: i32) -> Result<()> {
    let container = attached.container.as_str().parse()?;
    let id = AttachmentId { container, ifname: INTERFACE.parse()? };
    done(netup::detach_member_of(&id, &NETWORK.parse()?, &TargetName::Pid(child)))?;
    Ok(())
}

/// As root of a user namespace one has rights over networks, but not over the host's.
fn explained(error: netup::Error) -> Error {
    let refused = error.kind() == netup::ErrorKind::NotPermitted;
    let error = Error::from(error);
    if refused { error.hint(WITHOUT_RIGHTS) } else { error }
}

/// The core's futures are done without ever giving way, so they need no executor.
fn done<T>(work: impl Future<Output = netup::Result<T>>) -> netup::Result<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(netup::Error::new(
            netup::ErrorKind::Kernel,
            "the change of the network has not come to an end",
        )),
    }
}
