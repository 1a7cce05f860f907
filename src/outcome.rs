//! What was done, and what now exists: the facts that every reply is made of.
//!
//! The serialised keys are the stable ones of `--json`, documented in `docs/json.md`.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::addr::HostAddr;
use crate::bandwidth::Bandwidth;
use crate::error::Error;
use crate::ident::{AttachmentId, IfName, Mac};
use crate::isolation::Isolation;
use crate::publish::Publish;
use crate::request::{RouteRequest, Sysctl, Topology};
use crate::target::TargetName;

/// Everything that is known of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The identity: container id and interface name.
    #[serde(flatten)]
    pub id: AttachmentId,
    /// What the caller called the container.
    pub target: TargetName,
    /// The container's network namespace, by its cookie (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// Routed, or the bridge.
    pub topology: Topology,
    /// The host's link on the container's VLAN, with the gateways' addresses; `None` where these are
    /// on the bridge itself or on the veth pair.
    #[serde(default)]
    pub gateway_ifname: Option<IfName>,
    /// The host's end of the veth pair.
    pub host_ifname: IfName,
    /// Its index.
    pub host_ifindex: u32,
    /// Its hardware address.
    pub host_mac: Mac,
    /// The container interface's hardware address.
    pub mac: Mac,
    /// The MTU in bytes; `None` where the kernel's default was left.
    pub mtu: Option<u32>,
    /// The container's addresses.
    pub addresses: Vec<HostAddr>,
    /// The gateways, one per network.
    pub gateways: Vec<IpAddr>,
    /// Whether the container has a default route by them.
    pub default_route: bool,
    /// Further routes.
    pub routes: Vec<RouteRequest>,
    /// Whether traffic to the outside is masqueraded.
    pub nat: bool,
    /// Published ports.
    pub publish: Vec<Publish>,
    /// Kernel parameters that were set in the container.
    pub sysctls: Vec<Sysctl>,
    /// Limits on the traffic.
    #[serde(default)]
    pub bandwidth: Bandwidth,
    /// Which other containers may open connections to this one.
    #[serde(default)]
    pub isolation: Isolation,
}

/// What an attach did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It came about.
    Created,
    /// All that was asked for held already.
    Unchanged,
    /// It took the place of an attachment of the same identity that differed or was broken.
    Replaced,
}

/// The result of an attach.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// What was done.
    pub result: Change,
    /// What now exists.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// How long it took, in microseconds when serialised.
    #[serde(rename = "elapsed_us", serialize_with = "microseconds")]
    pub elapsed: Duration,
}

/// The result of taking one attachment down.
#[derive(Debug, Clone, Serialize)]
pub struct Detached {
    /// What is gone.
    #[serde(flatten)]
    pub id: AttachmentId,
    /// How long it took, in microseconds when serialised.
    #[serde(rename = "elapsed_us", serialize_with = "microseconds")]
    pub elapsed: Duration,
}

/// How an attachment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its link exists.
    Up,
    /// Its link is gone, most often because the container has ended; `netup gc` clears the rest.
    Dead,
    /// A call was interrupted half-way; `netup gc` or the next call clears it.
    Incomplete,
}

/// One row of a listing.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// How it stands.
    pub state: State,
    /// What it is.
    #[serde(flatten)]
    pub attachment: Attachment,
}

/// The result of checking one attachment against the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Which.
    #[serde(flatten)]
    pub id: AttachmentId,
    /// What no longer holds, each as the command that would put it back.
    pub drift: Vec<String>,
    /// Whether it was put back.
    pub repaired: bool,
}

/// The result of a garbage collection.
#[derive(Debug, Default)]
pub struct Collected {
    /// What was cleared.
    pub removed: Vec<AttachmentId>,
    /// What could not be cleared, and why.
    pub failed: Vec<(AttachmentId, Error)>,
}

/// The result of putting the rules back.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reloaded {
    /// Attachments whose elements were put back.
    pub attachments: usize,
    /// How many elements these were.
    pub elements: usize,
}

/// Whether `doctor` is content with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, but something will not.
    Warning,
    /// netup cannot do its work.
    Failure,
}

/// One thing that `doctor` looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at, in one or two words.
    pub subject: String,
    /// The verdict.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do about it, as a command where there is one.
    pub remedy: Option<String>,
}

fn microseconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
}
