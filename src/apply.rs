//! Carries steps out. The only caller of what changes the kernel; it decides nothing but how.

pub mod journal;

use std::collections::HashMap;
use std::fmt;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::addr::Family;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ident::IfName;
use crate::kernel::address::Given;
use crate::kernel::conntrack::{self, Flow};
use crate::kernel::link::{self, Link};
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::reclaim::Deletion;
use crate::kernel::rtnl::Rtnl;
use crate::kernel::{address, netns, nftables, qdisc, route, sysctl, vlan};
use crate::nft;
use crate::observe;
use crate::plan::{self, FlowKey, Label, Side, Step, TakenPort, Veth};
use crate::request::Sysctl;
use crate::ruleset::{Element, Rules};
use crate::target::{Target, TargetName};
use crate::{firewalld, iptables};

/// How often a port that is taken and free again is tried for.
const ATTEMPTS: usize = 100;
/// How long to look again and again for a port to be gone, without waiting in the kernel.
const GLANCE: Duration = Duration::from_millis(4);

/// The container's side, while it can be reached.
pub struct Container<'a> {
    /// rtnetlink in the container's namespace.
    pub rtnl: Rtnl,
    /// The namespace.
    pub target: &'a Target,
}

impl<'a> Container<'a> {
    /// Connects to the container's namespace.
    pub fn open(target: &'a Target) -> Result<Self> {
        Ok(Self { rtnl: Rtnl::over(netns::duplicate(target.route_socket())?), target })
    }
}

/// Carries steps out on both sides.
pub struct Executor<'a> {
    pub(crate) host: &'a Host,
    pub(crate) container: Option<Container<'a>>,
    name: &'a TargetName,
    indexes: HashMap<(Side, IfName), u32>,
}

/// A step in words, made only when something has to be said.
pub struct Shown<'a> {
    step: &'a Step,
    target: &'a TargetName,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::InstallRuleset | Step::InstallBridgeRuleset => {
                f.write_str("nft -f - (the static rules)")
            }
            step => f.write_str(&plan::lines(step, self.target).join("; ")),
        }
    }
}

impl<'a> Executor<'a> {
    /// An executor. Without a container, steps on its side fail as if everything there were gone.
    #[must_use]
    pub fn new(host: &'a Host, container: Option<Container<'a>>, name: &'a TargetName) -> Self {
        Self { host, container, name, indexes: HashMap::new() }
    }

    /// Makes one change.
    pub fn apply(&mut self, step: &Step) -> Result<()> {
        let shown = Shown { step, target: self.name };
        match step {
            Step::InstallRuleset => self.install_ruleset(Rules::Inet),
            Step::RemoveRuleset => nftables::remove_table(self.host.nft()?, Rules::Inet),
            Step::InstallBridgeRuleset => self.install_ruleset(Rules::Bridge),
            Step::RemoveBridgeRuleset => nftables::remove_table(self.host.nft()?, Rules::Bridge),
            Step::WriteSysctls { side, sysctls } => {
                self.on_side(*side, || sysctls.iter().try_for_each(write_sysctl))
            }
            Step::AddBridge { name, mac, mtu } => {
                link::add_bridge(&self.host.rtnl, name, *mac, *mtu, &shown)
            }
            Step::AddVeth(veth) => self.add_veth(veth, &shown),
            Step::AddPair(pair) => {
                let master = self.link(Side::Host, &pair.bridge)?;
                link::add_pair(&self.host.rtnl, pair, master, &shown)
            }
            Step::AddIfb { name, mac, mtu } => {
                link::add_ifb(&self.host.rtnl, name, *mac, *mtu, &shown)
            }
            Step::DeleteLink(label) => self.delete_link(label, &shown),
            Step::DeleteBridge(label) => self.delete_bridge(label, &shown),
            Step::SetUp { side, name, alias } => {
                let index = self.link(*side, name)?;
                link::set_up(self.side(*side)?, index, alias.as_deref(), &shown)
            }
            Step::PinMac { name, mac } => {
                let index = self.link(Side::Host, name)?;
                link::set_mac(self.side(Side::Host)?, index, *mac, &shown)
            }
            Step::SetLink { side, name, attributes } => {
                let index = self.link(*side, name)?;
                link::set_attributes(self.side(*side)?, index, attributes, &shown)
            }
            Step::Reflect { name } | Step::Unreflect { name } => {
                let index = self.link(Side::Host, name)?;
                let on = matches!(step, Step::Reflect { .. });
                link::set_hairpin(&self.host.rtnl, index, on, &shown)
            }
            Step::Isolate { name } | Step::Unisolate { name } => {
                let index = self.link(Side::Host, name)?;
                let on = matches!(step, Step::Isolate { .. });
                link::set_isolated(&self.host.rtnl, index, on, &shown)
            }
            Step::FilterVlans { name } => self.filter_vlans(name, &shown),
            Step::UnfilterVlans { name } => {
                let index = self.link(Side::Host, name)?;
                match vlan::set_filtering(&self.host.rtnl, index, false, &shown) {
                    // Then it cannot have been switched on either.
                    Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => Ok(()),
                    done => done,
                }
            }
            Step::SetVlans(vlans) => {
                let index = self.link(Side::Host, &vlans.name)?;
                vlan::set(&self.host.rtnl, index, vlans, &shown)
            }
            Step::Shape { name, rate } => {
                let index = self.link(Side::Host, name)?;
                qdisc::shape(&self.host.rtnl, index, rate, &shown)
            }
            Step::Unshape { name } => {
                let index = self.link(Side::Host, name)?;
                qdisc::unshape(&self.host.rtnl, index, &shown)
            }
            Step::Redirect { from, to } => {
                let (from, to) = (self.link(Side::Host, from)?, self.link(Side::Host, to)?);
                qdisc::redirect(&self.host.rtnl, from, to, &shown)
            }
            Step::Unredirect { from } => {
                let index = self.link(Side::Host, from)?;
                qdisc::unredirect(&self.host.rtnl, index, &shown)
            }
            Step::SetDown { side, name } => {
                let index = self.link(*side, name)?;
                link::set_down(self.side(*side)?, index, &shown)
            }
            Step::AddAddress { side, name, address, connected, detect_duplicates } => {
                let index = self.link(*side, name)?;
                let given = Given { connected: *connected, nodad: !detect_duplicates };
                address::add(self.side(*side)?, index, *address, given, &shown)
            }
            Step::DeleteAddress { side, name, address } => {
                let index = self.link(*side, name)?;
                address::delete(self.side(*side)?, index, *address, &shown)
            }
            Step::WithdrawAddress { name, address } => {
                let index = self.link(Side::Host, name)?;
                match self.has_ports(index)? {
                    true => Ok(()),
                    false => address::delete(&self.host.rtnl, index, *address, &shown),
                }
            }
            Step::AddRoute(route) => {
                let index = self.link(route.side, &route.name)?;
                route::add(self.side(route.side)?, index, route, &shown)
            }
            Step::AddElements(elements) => self.add_elements(elements, &shown),
            Step::DeleteElements(elements) => {
                self.host.nft_deleted();
                delete_elements(self.host.nft()?, elements, &shown)
            }
            Step::FlushFlows(keys) => flush(self.host, keys),
            Step::AdmitByIptables(admission) => iptables::admit_on(self.host, admission),
            Step::UnadmitByIptables(admission) => iptables::unadmit_on(self.host, admission),
            Step::TrustByFirewalld { zone, addresses } => firewalld::trust(zone, addresses),
            Step::DistrustByFirewalld { zone, addresses } => firewalld::distrust(zone, addresses),
        }
    }

    /// Makes a change again whose effect does not hold any more, or only in part.
    pub fn repair(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::AddRoute(route) => {
                let index = self.link(route.side, &route.name)?;
                route::replace(
                    self.side(route.side)?,
                    index,
                    route,
                    &Shown { step, target: self.name },
                )
            }
            step => self.apply(step),
        }
    }

    /// Takes something back. That it is gone already is success.
    pub fn undo(&mut self, step: &Step) -> Result<()> {
        match self.apply(step) {
            Err(e) if e.is_gone() => Ok(()),
            other => other,
        }
    }

    pub(crate) fn side(&self, side: Side) -> Result<&Rtnl> {
        match (side, &self.container) {
            (Side::Host, _) => Ok(&self.host.rtnl),
            (Side::Container, Some(container)) => Ok(&container.rtnl),
            (Side::Container, None) => {
                Err(Error::kernel(format!("enter {}", self.name), libc::ENOENT, None))
            }
        }
    }

    /// A link's index, asked for once.
    fn link(&mut self, side: Side, name: &IfName) -> Result<u32> {
        let key = (side, name.clone());
        if let Some(index) = self.indexes.get(&key) {
            return Ok(*index);
        }
        let link = link::by_name(self.side(side)?, name)?;
        let index = link
            .ok_or_else(|| Error::kernel(format!("ip link show {name}"), libc::ENODEV, None))?
            .index;
        self.indexes.insert(key, index);
        Ok(index)
    }

    fn add_veth(&mut self, veth: &Veth, shown: &Shown<'_>) -> Result<()> {
        let master = match &veth.bridge {
            Some(bridge) => Some(self.link(Side::Host, bridge)?),
            None => None,
        };
        let Some(container) = &self.container else {
            return self.side(Side::Container).map(drop);
        };
        link::add_veth(&self.host.rtnl, veth, container.target.netns(), master, shown)?;
        self.indexes.insert((Side::Host, veth.host.clone()), veth.host_index);
        Ok(())
    }

    /// A kernel that knows no VLANs says so, or says nothing and does not do it.
    fn filter_vlans(&mut self, name: &IfName, shown: &Shown<'_>) -> Result<()> {
        let index = self.link(Side::Host, name)?;
        match vlan::set_filtering(&self.host.rtnl, index, true, shown) {
            Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => {
                return Err(plan::vlans_unsupported(name));
            }
            done => done?,
        }
        let bridge = link::by_index(&self.host.rtnl, index)?;
        match bridge.is_some_and(|bridge| bridge.vlan_filtering == Some(true)) {
            true => Ok(()),
            false => Err(plan::vlans_unsupported(name)),
        }
    }

    /// A port may have been taken since the observation; the error names who was faster. If nobody
    /// has it any more by then, it is tried again.
    fn add_elements(&self, elements: &[Element], shown: &Shown<'_>) -> Result<()> {
        let mut attempts = 0;
        loop {
            let Err(refusal) = nftables::add(self.host.nft()?, elements, shown) else {
                return Ok(());
            };
            attempts += 1;
            if refusal.errno() != Some(libc::EEXIST) || attempts == ATTEMPTS {
                return Err(refusal);
            }
            self.free_ports(elements)?;
        }
    }

    fn free_ports(&self, elements: &[Element]) -> Result<()> {
        for element in elements {
            if let Element::Publish(port) = element
                && let Some(by) = observe::published_by(self.host, *port)?
            {
                return Err(plan::port_taken(&TakenPort { port: *port, by }));
            }
        }
        Ok(())
    }

    /// One process loads the rules, and the others find them loaded.
    fn install_ruleset(&self, rules: Rules) -> Result<()> {
        let _lock = self.host.state.lock_rules()?;
        match nftables::is_current(self.host.nft()?, rules)? {
            true => Ok(()),
            false => nft::load(rules.text()),
        }
    }

    /// Returns when the name, the other end, the addresses and the routes are gone, not when the
    /// kernel has freed the memory.
    fn delete_link(&mut self, label: &Label, shown: &Shown<'_>) -> Result<()> {
        self.indexes.clear();
        let Some(link) =
            link::by_name(&self.host.rtnl, &label.name)?.filter(|link| is_labelled(link, label))
        else {
            return Ok(());
        };
        let reclaim = self.host.state.announce_reclaim()?;
        let linger = [self.host.nft()?.as_fd(), reclaim.as_fd()];
        let deletion = Deletion::begin(link.index, &linger, shown.to_string())?;
        self.host.nft_lingers();
        let begun = Instant::now();
        while self.is_there(&link, label, begun)? {
            if let Some(failure) = deletion.end()
                && self.is_there(&link, label, begun)?
            {
                return Err(failure);
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether anything of a link that is being deleted can still be seen. The kernel answers while it
    /// holds the same lock that the deletion holds until all of that is gone, so this hardly ever asks
    /// twice.
    ///
    /// What goes with a bridge's port goes before its name does: it has neither addresses nor routes.
    /// The rest of the time that the lock is held grows with the number of ports, so a look at the
    /// name comes first; but not for long, for where many links go at once it is better to sleep.
    fn is_there(&self, link: &Link, label: &Label, begun: Instant) -> Result<bool> {
        match link.master {
            Some(_) if begun.elapsed() < GLANCE => Ok(link::is_listed(&label.name, link.index)),
            _ => Ok(link::by_index(&self.host.rtnl, link.index)?.is_some()),
        }
    }

    fn delete_bridge(&mut self, label: &Label, shown: &Shown<'_>) -> Result<()> {
        let bridge = link::by_name(&self.host.rtnl, &label.name)?;
        let Some(bridge) = bridge.filter(|bridge| is_labelled(bridge, label)) else {
            return Ok(());
        };
        // Somebody made it theirs: taking it away would cut them off.
        match self.has_ports(bridge.index)? {
            true => Ok(()),
            false => self.delete_link(label, shown),
        }
    }

    fn has_ports(&self, bridge: u32) -> Result<bool> {
        let links = link::all(&self.host.rtnl)?;
        Ok(links.iter().any(|link| link.master == Some(bridge)))
    }

    /// Does something on a thread of this side.
    pub(crate) fn on_side<T: Send>(
        &self,
        side: Side,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        match (side, &self.container) {
            (Side::Host, _) => work(),
            (Side::Container, Some(container)) => {
                netns::visit(container.target.netns(), work).flatten()
            }
            (Side::Container, None) => Err(self.unreachable()),
        }
    }

    fn unreachable(&self) -> Error {
        Error::kernel(format!("enter {}", self.name), libc::ENOENT, None)
    }
}

/// The kernel may refuse a value that it holds already, as it does with ids that the user
/// namespace has no names for. What holds need not be written.
fn write_sysctl(wanted: &Sysctl) -> Result<()> {
    match sysctl::write(&wanted.key, &wanted.value) {
        Err(refusal) => match sysctl::holds(wanted) {
            Ok(true) => Ok(()),
            _ => Err(refusal),
        },
        done => done,
    }
}

/// The label proves that a link of the expected name is the one that netup made: the alias once it
/// is set up, the derived hardware address before that.
pub(crate) fn is_labelled(link: &Link, label: &Label) -> bool {
    link.alias.as_deref() == Some(&label.alias) || link.mac == label.mac.octets()
}

/// Deletes in one transaction, as the record says what exists. If the kernel finds something
/// missing, because somebody flushed it or a crash came before it, what is left goes one by one.
fn delete_elements(nft: &Nfnetlink, elements: &[Element], shown: &Shown<'_>) -> Result<()> {
    match nftables::delete(nft, elements, shown) {
        Err(e) if e.is_gone() => {
            for element in elements {
                // Another attachment may have the key by now.
                if is_stored(nft, element)? {
                    nftables::delete(nft, std::slice::from_ref(element), shown).or_else(gone_ok)?;
                }
            }
            Ok(())
        }
        other => other,
    }
}

fn gone_ok(error: Error) -> Result<()> {
    if error.is_gone() { Ok(()) } else { Err(error) }
}

/// Whether the kernel holds exactly this element.
pub fn is_stored(nft: &Nfnetlink, element: &Element) -> Result<bool> {
    let stored = nftables::stored(nft, element)?;
    Ok(stored.is_some_and(|data| element.data().is_none_or(|expected| expected == data)))
}

/// Forgets flows to the published port that were not redirected, and those that lead to the
/// container. Flows of others that merely pass through, to the same port elsewhere, stay.
fn flush(host: &Host, keys: &[FlowKey]) -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let keys: Vec<&FlowKey> = keys.iter().filter(|key| Family::of(key.ip) == family).collect();
        let Some(protocol) = keys.first().map(|key| key.protocol) else { continue };
        for flow in conntrack::flows(host.nft()?, family, protocol)? {
            if keys.iter().any(|key| concerns(key, &flow)) && leads_here(host, &keys, &flow)? {
                conntrack::forget(host.nft()?, &flow)?;
            }
        }
    }
    Ok(())
}

fn concerns(key: &FlowKey, flow: &Flow) -> bool {
    flow.port == key.host_port && key.host_ip.is_none_or(|ip| ip == flow.destination)
}

fn leads_here(host: &Host, keys: &[&FlowKey], flow: &Flow) -> Result<bool> {
    if keys.iter().any(|key| key.ip == flow.answered_by) {
        return Ok(true);
    }
    let entry = route::lookup(&host.rtnl, flow.destination)?;
    Ok(entry.is_some_and(|entry| entry.local))
}
