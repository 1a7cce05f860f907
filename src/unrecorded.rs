//! Taking down what has no record, because somebody removed the state folder: the link's name
//! follows from the attachment's identity, and the rest from the link and the container.

use std::net::IpAddr;

use crate::addr::HostAddr;
use crate::apply::{Container, Executor, is_stored};
use crate::error::Result;
use crate::host::Host;
use crate::ident::{AttachmentId, ContainerId};
use crate::kernel::{address, link, nftables};
use crate::plan::{Label, Step};
use crate::ruleset::{Element, address_of_data};
use crate::target::Target;

/// The maps of published ports.
const PUBLISHED: [&str; 4] = ["publish4", "publish4_at", "publish6", "publish6_at"];

/// The attachments of a namespace whose host links exist, by the container's links.
pub async fn find(host: &Host, target: &Target) -> Result<Vec<AttachmentId>> {
    let container = Container::open(target)?;
    let mut found = Vec::new();
    for link in link::all(&container.rtnl).await? {
        let Ok(ifname) = link.name.parse() else { continue };
        let id = AttachmentId { container: ContainerId::of_netns(target.cookie()), ifname };
        let far = link::by_name(&host.rtnl, &id.host_ifname()).await?;
        found.extend(far.is_some_and(|far| far.alias == Some(id.alias())).then_some(id));
    }
    Ok(found)
}

/// Takes one of them down: its elements, then its link.
pub async fn take_down(host: &Host, target: &Target, id: &AttachmentId) -> Result<()> {
    let container = Container::open(target)?;
    let addresses = match link::by_name(&container.rtnl, &id.ifname).await? {
        Some(link) => address::of_link(&container.rtnl, link.index).await?,
        None => Vec::new(),
    };
    let ips: Vec<IpAddr> = addresses.iter().copied().map(HostAddr::ip).collect();
    remove_published(host, &ips)?;
    let mut executor = Executor::new(host, Some(container), target.name());
    executor.undo(&Step::DeleteElements(stored_elements(host, id, &ips)?)).await?;
    let label = Label { name: id.host_ifname(), alias: id.alias(), mac: id.host_mac() };
    executor.undo(&Step::DeleteVeth(label)).await?;
    addresses.into_iter().try_for_each(|address| host.state.release(address, id))
}

fn stored_elements(host: &Host, id: &AttachmentId, ips: &[IpAddr]) -> Result<Vec<Element>> {
    let link = id.host_ifname();
    let of_link = [Element::Link(link.clone()), Element::Hairpin(link)];
    let mut stored = Vec::new();
    for element in of_link.into_iter().chain(ips.iter().copied().map(Element::Masquerade)) {
        if is_stored(&host.nft, &element)? {
            stored.push(element);
        }
    }
    Ok(stored)
}

/// Nothing but the maps themselves tells which ports lead here, so they are read whole.
fn remove_published(host: &Host, ips: &[IpAddr]) -> Result<()> {
    for map in PUBLISHED {
        let mut items = nftables::all(&host.nft, map)?;
        items.retain(|item| address_of_data(&item.data).is_some_and(|ip| ips.contains(&ip)));
        nftables::delete_items(&host.nft, map, &items)?;
    }
    Ok(())
}
