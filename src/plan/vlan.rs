//! VLANs on a bridge: the bridge keeps them apart, each port is in its own, and on one where the host
//! is the gateway it has a link of its own. That is a veth pair whose other end is a port in the
//! VLAN, so that no kernel module for tagged interfaces is needed.

use crate::addr::Family;
use crate::bridging::Bridging;
use crate::error::{Error, ErrorKind};
use crate::ident::{AttachmentId, ContainerId, IfName, Mac};
use crate::plan::observed::ObservedBridge;
use crate::plan::step::{Label, Pair, Planned, PortVlans, Side, Step, UndoScope};
use crate::plan::{link_sysctl, of_bridge, with_link, write};
use crate::ruleset::Element;

/// The VLAN of a bridge's ports where nobody said otherwise.
const DEFAULT: u16 = 1;

/// The refusal of a VLAN where the kernel knows none.
pub fn unsupported(bridge: &IfName) -> Error {
    Error::new(ErrorKind::MissingFeature, format!("the kernel cannot keep VLANs apart on bridge {bridge}"))
        .hint("use a kernel with CONFIG_BRIDGE_VLAN_FILTERING, which needs 802.1Q support (module 8021q); or leave the VLAN out")
}

/// What tells that a link of this name is the host's end of a pair that netup made.
pub fn gateway_label(name: &IfName) -> Label {
    let alias = format!("netup gateway {name}");
    Label { name: name.clone(), alias, mac: identity(name).host_mac() }
}

/// What the tables know of the host's link on a VLAN, and of the port at its other end.
pub fn elements(name: &IfName) -> Vec<Element> {
    let mut elements = of_bridge(name, false, false);
    elements.push(Element::Untracked(identity(name).host_ifname()));
    elements
}

fn identity(name: &IfName) -> AttachmentId {
    AttachmentId { container: ContainerId::of_bridge(), ifname: name.clone() }
}

/// Has the bridge filter, if it does not yet. On one that netup did not make it is switched off
/// again with the last container.
pub fn filter(name: &IfName, known: Option<&ObservedBridge>) -> Option<Planned> {
    let name = || name.clone();
    let step = Step::FilterVlans { name: name() };
    let Some(bridge) = known else {
        return Some(with_link(step));
    };
    let scope = if bridge.ours { UndoScope::Failure } else { UndoScope::Attachment };
    let undo = vec![Step::UnfilterVlans { name: name() }];
    (bridge.vlan_filtering != Some(true)).then_some(Planned { step, undo, scope })
}

/// The VLANs of the container's port.
pub fn port(
    name: &IfName,
    bridging: &Bridging,
    bridge: Option<&ObservedBridge>,
) -> Option<Planned> {
    let native = bridging.vlan.unwrap_or(DEFAULT);
    let without = left(bridge, native).filter(|_| !bridging.keep_default_vlan);
    let (name, tagged) = (name.clone(), bridging.trunk.clone());
    let vlans = PortVlans { name, without, tagged, native };
    bridging.has_vlans().then(|| with_link(Step::SetVlans(vlans)))
}

/// The VLAN that the bridge puts every new port into, unless it is the one wanted.
fn left(bridge: Option<&ObservedBridge>, native: u16) -> Option<u16> {
    bridge.map_or(Some(DEFAULT), |bridge| bridge.default_vlan).filter(|id| *id != native)
}

/// The host's link on a VLAN, and where it belongs.
pub struct Gateway<'a> {
    /// Its name.
    pub name: &'a IfName,
    /// What has its name already.
    pub known: Option<&'a ObservedBridge>,
    /// The bridge.
    pub bridge: &'a IfName,
    /// What was observed of the bridge.
    pub observed: Option<&'a ObservedBridge>,
    /// The VLAN.
    pub id: u16,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether the host's kernel speaks IPv6 at all.
    pub ipv6: bool,
}

impl Gateway<'_> {
    /// What is missing of it. It goes with the bridge's last attachment.
    pub fn steps(&self) -> Vec<Planned> {
        match self.known {
            None => std::iter::once(self.add()).chain(self.complete()).collect(),
            Some(link) if link.up => Vec::new(),
            // Set up last: somebody was interrupted before that.
            Some(link) if link.ours => self.complete(),
            Some(_) => vec![self.foreign_up()],
        }
    }

    fn port(&self) -> IfName {
        identity(self.name).host_ifname()
    }

    fn add(&self) -> Planned {
        let label = gateway_label(self.name);
        let pair = Pair {
            host: self.name.clone(),
            host_mac: label.mac,
            port: self.port(),
            port_mac: port_mac(self.name),
            mtu: self.mtu,
            bridge: self.bridge.clone(),
        };
        let undo = vec![Step::DeleteLink(label)];
        Planned { step: Step::AddPair(pair), undo, scope: UndoScope::Attachment }
    }

    fn complete(&self) -> Vec<Planned> {
        let (name, port) = (self.name, self.port());
        let set = |link, key, value| write(Side::Host, link_sysctl(Family::V6, link, key, value));
        let mut steps = Vec::new();
        if self.ipv6 {
            steps.push(set(&port, "disable_ipv6", "1"));
            steps.push(set(name, "accept_ra", "0"));
            steps.push(set(name, "accept_dad", "0"));
        }
        let without = left(self.observed, self.id);
        let vlans = PortVlans { name: port.clone(), without, tagged: Vec::new(), native: self.id };
        steps.push(Step::SetVlans(vlans));
        let alias = gateway_label(name).alias;
        steps.push(up(&port, Some(format!("{alias} port"))));
        steps.push(up(name, Some(alias)));
        steps.into_iter().map(with_link).collect()
    }

    fn foreign_up(&self) -> Planned {
        let undo = vec![Step::SetDown { side: Side::Host, name: self.name.clone() }];
        Planned { step: up(self.name, None), undo, scope: UndoScope::Failure }
    }
}

/// As a container's port, it never decides the bridge's address.
fn port_mac(name: &IfName) -> Mac {
    identity(name).port_mac()
}

fn up(name: &IfName, alias: Option<String>) -> Step {
    Step::SetUp { side: Side::Host, name: name.clone(), alias }
}
