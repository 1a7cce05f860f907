//! What is added to a container's interface that exists already, whoever made it: published ports,
//! admission by the firewall, limits, settings. Each part is applied, remembered and taken back by
//! itself.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, HostAddr};
use crate::bandwidth::Bandwidth;
use crate::error::{Error, Result};
use crate::ident::{AttachmentId, IfName, NetworkName};
use crate::iptables::ChainName;
use crate::isolation::Isolation;
use crate::plan::{self, LinkAttributes};
use crate::publish::Publish;
use crate::request::Sysctl;
use crate::ruleset::PublishedPort;

/// One part that is to be added to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The interface.
    pub id: AttachmentId,
    /// The network on whose behalf. Only a call for the same network takes it back.
    pub network_name: NetworkName,
    /// What to add.
    pub part: Part,
}

impl Extension {
    /// Under which it is remembered.
    #[must_use]
    pub fn id(&self) -> ExtensionId {
        ExtensionId { attachment: self.id.clone(), part: self.part.kind() }
    }
}

/// What can be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Published ports.
    Publish(Publishing),
    /// Passage through the host's firewall.
    Admit(Admission),
    /// Limits on the traffic.
    Limit(Limit),
    /// Settings of the interface and its namespace.
    Tune(Tuning),
}

/// Ports of the host that lead to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publishing {
    /// The container's addresses; the first of a family gets that family's ports.
    pub addresses: Vec<IpAddr>,
    /// The ports.
    pub publish: Vec<Publish>,
    /// Whether the host's own `127.0.0.1` and the container itself can use them too. Their packets
    /// are masqueraded for it.
    pub local: bool,
    /// Whether everybody's packets are masqueraded.
    pub masquerade_all: bool,
    /// The host's end of the container's veth pair, if there is one.
    pub host_ifname: Option<IfName>,
}

impl Publishing {
    /// The container's address in a family.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|ip| Family::of(*ip) == family)
    }

    /// Each port, with where it leads: none of a family in which the container has no address.
    #[must_use]
    pub fn ports(&self) -> Vec<PublishedPort> {
        let addresses: Vec<HostAddr> =
            self.addresses.iter().copied().map(HostAddr::single).collect();
        plan::published(&self.publish, &addresses)
    }
}

/// Passage through the host's firewall for a container's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// The bridge or link by which the container is reached, to which the isolation applies.
    pub link: Option<IfName>,
    /// The host's end of the container's veth pair, if there is one.
    pub port: Option<IfName>,
    /// Who may open connections to the container.
    pub isolation: Isolation,
    /// Whose rules decide.
    pub backend: Backend,
}

/// Whose rules decide what passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// Our own table.
    Nftables,
    /// The iptables chains that the reference plugins share.
    Iptables {
        /// The chain of the admin's own rules.
        admin_chain: ChainName,
    },
    /// A zone of firewalld.
    Firewalld {
        /// The zone.
        zone: String,
    },
}

/// Limits on an interface's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The host's end of the container's veth pair.
    pub host_ifname: IfName,
    /// How fast.
    pub bandwidth: Bandwidth,
}

/// Settings of an interface and its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Kernel parameters.
    pub sysctls: Vec<Sysctl>,
    /// Attributes of the interface.
    pub attributes: LinkAttributes,
}

impl Part {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> PartKind {
        match self {
            Self::Publish(_) => PartKind::Publish,
            Self::Admit(_) => PartKind::Admit,
            Self::Limit(_) => PartKind::Limit,
            Self::Tune(_) => PartKind::Tune,
        }
    }
}

/// The kinds of parts. An interface has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// Published ports.
    Publish,
    /// Passage through the firewall.
    Admit,
    /// Limits.
    Limit,
    /// Settings.
    Tune,
}

impl PartKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Admit, Self::Limit, Self::Tune];

    /// The kind in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Admit => "admit",
            Self::Limit => "limit",
            Self::Tune => "tune",
        }
    }
}

/// Which part of which interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExtensionId {
    /// The interface.
    pub attachment: AttachmentId,
    /// The part.
    pub part: PartKind,
}

impl fmt::Display for ExtensionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An interface name has no colon.
        write!(f, "{}:{}", self.attachment, self.part.as_str())
    }
}

impl FromStr for PartKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Error::invalid(format!("part {text:?} is unknown")))
    }
}
