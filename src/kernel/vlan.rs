//! VLANs of a bridge: whether it tells them apart, and which of them its ports are in.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoData, InfoKind,
    LinkAttribute, LinkExtentMask, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::bridging::VlanRange;
use crate::error::{Error, Result};
use crate::kernel::rtnl::Rtnl;
use crate::plan::step::PortVlans;

/// What a port does with the frames of one VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Whether frames that come in without a number are of this VLAN.
    pub pvid: bool,
    /// Whether frames go out without their number.
    pub untagged: bool,
}

/// The VLANs of one port.
pub type Memberships = BTreeMap<u16, Membership>;

/// Lets a bridge tell VLANs apart, or not.
pub fn set_filtering(rtnl: &Rtnl, index: u32, on: bool, operation: &impl Display) -> Result<()> {
    // The kernel takes a bridge's own data in RTM_NEWLINK.
    let mut message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Bridge)
        .set_info_data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(on)]))
        .build();
    message.header.index = index;
    rtnl.change(RouteNetlinkMessage::NewLink(message), 0, operation)
}

/// Puts a port into its VLANs. The native one comes last: in one of the ranges too, it stays what it
/// is.
pub fn set(rtnl: &Rtnl, index: u32, vlans: &PortVlans, operation: &impl Display) -> Result<()> {
    if let Some(id) = vlans.without {
        let message = message(index, vec![info(id, BridgeVlanInfoFlags::empty())]);
        let left = rtnl.change(RouteNetlinkMessage::DelLink(message), 0, operation);
        left.or_else(|e: Error| if e.is_gone() { Ok(()) } else { Err(e) })?;
    }
    let message = message(index, joined(vlans));
    rtnl.change(RouteNetlinkMessage::SetLink(message), 0, operation)
}

fn joined(vlans: &PortVlans) -> Vec<AfSpecBridge> {
    let native = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
    let tagged = vlans.tagged.iter().flat_map(range);
    tagged.chain([info(vlans.native, native)]).collect()
}

/// A range is told by its two ends, a single VLAN without a word of ranges: the kernel refuses one
/// that ends where it begins (`br_process_vlan_info`, net/bridge/br_netlink.c).
fn range(range: &VlanRange) -> Vec<AfSpecBridge> {
    let VlanRange { first, last } = *range;
    match first == last {
        true => vec![info(first, BridgeVlanInfoFlags::empty())],
        false => vec![
            info(first, BridgeVlanInfoFlags::RangeBegin),
            info(last, BridgeVlanInfoFlags::RangeEnd),
        ],
    }
}

fn info(vid: u16, flags: BridgeVlanInfoFlags) -> AfSpecBridge {
    AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid })
}

fn message(index: u32, vlans: Vec<AfSpecBridge>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    message.attributes.push(LinkAttribute::AfSpecBridge(vlans));
    message
}

/// The VLANs of every port of every bridge, by the port's index: the kernel tells only of all.
pub fn of_ports(rtnl: &Rtnl) -> Result<HashMap<u32, Memberships>> {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
    let ports = rtnl.dump(RouteNetlinkMessage::GetLink(message), "bridge vlan show", of_port)?;
    Ok(ports.into_iter().collect())
}

fn of_port(message: RouteNetlinkMessage) -> Option<(u32, Memberships)> {
    let RouteNetlinkMessage::NewLink(message) = message else {
        return None;
    };
    let vlans = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(vlans) => Some(vlans),
        _ => None,
    })?;
    let member = |vlan: &AfSpecBridge| match vlan {
        AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid }) => {
            let pvid = flags.contains(BridgeVlanInfoFlags::Pvid);
            let untagged = flags.contains(BridgeVlanInfoFlags::Untagged);
            Some((*vid, Membership { pvid, untagged }))
        }
        _ => None,
    };
    Some((message.header.index, vlans.iter().filter_map(member).collect()))
}

/// Whether a port is in the VLANs that it was put into, and has left the one that it was to leave.
pub fn holds(has: &Memberships, wanted: &PortVlans) -> bool {
    let native = Membership { pvid: true, untagged: true };
    let tagged = Membership { pvid: false, untagged: false };
    let in_range = |id| wanted.tagged.iter().any(|range| (range.first..=range.last).contains(&id));
    let mut ids = wanted.tagged.iter().flat_map(|range| range.first..=range.last);
    has.get(&wanted.native) == Some(&native)
        && ids.all(|id| id == wanted.native || has.get(&id) == Some(&tagged))
        && wanted.without.is_none_or(|id| in_range(id) || !has.contains_key(&id))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    fn vlans(without: Option<u16>, tagged: &[(u16, u16)], native: u16) -> PortVlans {
        let tagged = tagged.iter().map(|(first, last)| VlanRange { first: *first, last: *last });
        PortVlans { name: "port".parse().unwrap(), without, tagged: tagged.collect(), native }
    }

    fn bytes(message: &LinkMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_port_is_put_into_its_vlans_by_one_message() {
        let message = message(9, joined(&vlans(None, &[(20, 20), (30, 40)], 10)));
        // The family PF_BRIDGE, and the port's index.
        let mut expected = vec![7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // IFLA_AF_SPEC (26) with four IFLA_BRIDGE_VLAN_INFO (2) of flags and number.
        expected.extend([36, 0, 26, 0]);
        expected.extend([8, 0, 2, 0, 0, 0, 20, 0]);
        expected.extend([8, 0, 2, 0, 8, 0, 30, 0]);
        expected.extend([8, 0, 2, 0, 16, 0, 40, 0]);
        expected.extend([8, 0, 2, 0, 6, 0, 10, 0]);
        assert_eq!(bytes(&message), expected);
    }

    #[test]
    fn what_the_kernel_tells_of_a_port_is_compared_with_what_was_asked() {
        let wanted = vlans(Some(1), &[(10, 12)], 10);
        let tell = |vlans: Vec<AfSpecBridge>| {
            of_port(RouteNetlinkMessage::NewLink(message(7, vlans))).unwrap()
        };
        let (index, mut has) = tell(joined(&wanted));
        assert_eq!(index, 7);
        // The kernel tells of each VLAN of a range.
        let tagged = Membership { pvid: false, untagged: false };
        has.extend([11, 12].map(|id| (id, tagged)));
        assert!(holds(&has, &wanted), "{has:?}");
        for broken in [
            Memberships::from_iter(has.clone().into_iter().filter(|(id, _)| *id != 11)),
            Memberships::from_iter(has.clone().into_iter().chain([(1, tagged)])),
            Memberships::from_iter(has.clone().into_iter().chain([(10, tagged)])),
        ] {
            assert!(!holds(&broken, &wanted), "{broken:?}");
        }
        assert!(of_port(RouteNetlinkMessage::NewLink(LinkMessage::default())).is_none());
    }
}
