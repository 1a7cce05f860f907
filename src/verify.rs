//! Whether a step's effect holds in the kernel now. After an attach, for `check`, and before
//! "unchanged" is said. Only what was asked is looked at: the kernel may add things of its own.

use std::collections::HashMap;

use crate::addr::{Family, HostAddr};
use crate::apply::{Executor, is_stored};
use crate::bandwidth::Rate;
use crate::error::Result;
use crate::ident::IfName;
use crate::kernel::link::{Link, Port};
use crate::kernel::route::Entry;
use crate::kernel::vlan::{self, Memberships};
use crate::kernel::{address, link, nftables, qdisc, route, sysctl};
use crate::plan::{LinkAttributes, MAIN_TABLE, Pair, PortVlans, Route, Side, Step, Veth};
use crate::request::Sysctl;
use crate::ruleset::Rules;
use crate::{firewalld, iptables};

impl Executor<'_> {
    /// The steps whose effect does not hold.
    pub fn drift<'s>(&self, steps: impl IntoIterator<Item = &'s Step>) -> Result<Vec<&'s Step>> {
        let steps: Vec<&Step> = steps.into_iter().collect();
        let mut look = Look::new(self);
        look.read_container_sysctls(&steps)?;
        let mut drift = Vec::new();
        for step in steps {
            match look.holds(step) {
                Ok(true) => {}
                Ok(false) => drift.push(step),
                Err(e) if e.is_gone() => drift.push(step),
                Err(e) => return Err(e),
            }
        }
        Ok(drift)
    }
}

/// One look at both sides. What several steps ask about is asked of the kernel once.
struct Look<'e> {
    executor: &'e Executor<'e>,
    links: HashMap<(Side, IfName), Option<Link>>,
    addresses: HashMap<(Side, u32), Vec<HostAddr>>,
    container_routes: HashMap<(Family, u32), Vec<Entry>>,
    container_sysctls: HashMap<Sysctl, bool>,
    vlans: Option<HashMap<u32, Memberships>>,
}

impl<'e> Look<'e> {
    fn new(executor: &'e Executor<'_>) -> Self {
        Self {
            executor,
            links: HashMap::new(),
            addresses: HashMap::new(),
            container_routes: HashMap::new(),
            container_sysctls: HashMap::new(),
            vlans: None,
        }
    }

    /// All in one visit.
    fn read_container_sysctls(&mut self, steps: &[&Step]) -> Result<()> {
        let of_container = |step: &&Step| match step {
            Step::WriteSysctls { side: Side::Container, sysctls } => sysctls.clone(),
            _ => Vec::new(),
        };
        let wanted: Vec<Sysctl> = steps.iter().flat_map(of_container).collect();
        if wanted.is_empty() || self.executor.container.is_none() {
            return Ok(());
        }
        let read = || wanted.into_iter().map(|s| Ok((s.clone(), sysctl::holds(&s)?))).collect();
        self.container_sysctls = self.executor.on_side(Side::Container, read)?;
        Ok(())
    }

    fn holds(&mut self, step: &Step) -> Result<bool> {
        match step {
            Step::InstallRuleset => self.rules_hold(Rules::Inet),
            Step::InstallBridgeRuleset => self.rules_hold(Rules::Bridge),
            Step::WriteSysctls { side, sysctls } => self.sysctls_hold(*side, sysctls),
            Step::AddBridge { name, .. } | Step::AddIfb { name, .. } => {
                Ok(self.link(Side::Host, name)?.is_some())
            }
            Step::AddVeth(veth) => self.veth_holds(veth),
            Step::AddPair(pair) => self.pair_holds(pair),
            Step::FilterVlans { name } => {
                let link = self.link(Side::Host, name)?;
                Ok(link.is_some_and(|link| link.vlan_filtering == Some(true)))
            }
            Step::SetVlans(vlans) => self.vlans_hold(vlans),
            Step::PinMac { name, mac } => {
                let link = self.link(Side::Host, name)?;
                Ok(link.is_some_and(|link| link.mac == mac.octets()))
            }
            Step::SetLink { side, name, attributes } => {
                Ok(self.link(*side, name)?.is_some_and(|link| has(&link, attributes)))
            }
            Step::Reflect { name } => self.port_holds(name, |port| port.hairpin),
            Step::Isolate { name } => self.port_holds(name, |port| port.isolated),
            Step::Shape { name, rate } => self.shape_holds(name, rate),
            Step::Redirect { from, to } => self.redirect_holds(from, to),
            Step::SetUp { side, name, .. } => {
                Ok(self.link(*side, name)?.is_some_and(|link| link.up))
            }
            Step::AddAddress { side, name, address, .. } => {
                self.address_holds(*side, name, *address)
            }
            Step::AddRoute(wanted) => self.route_holds(wanted),
            Step::AddElements(elements) => {
                let stored = |element| is_stored(self.executor.host.nft()?, element);
                elements.iter().try_fold(true, |all, element| Ok(all && stored(element)?))
            }
            Step::AdmitByIptables(admission) => iptables::is_admitted(admission),
            Step::TrustByFirewalld { zone, addresses } => firewalld::is_trusted(zone, addresses),
            // These leave nothing that could drift, or nothing that is worth a look.
            Step::RemoveRuleset
            | Step::RemoveBridgeRuleset
            | Step::Unreflect { .. }
            | Step::UnfilterVlans { .. }
            | Step::Unisolate { .. }
            | Step::Unshape { .. }
            | Step::Unredirect { .. }
            | Step::WithdrawAddress { .. }
            | Step::DeleteLink(_)
            | Step::DeleteBridge(_)
            | Step::SetDown { .. }
            | Step::DeleteAddress { .. }
            | Step::DeleteElements(_)
            | Step::FlushFlows(_)
            | Step::UnadmitByIptables(_)
            | Step::DistrustByFirewalld { .. } => Ok(true),
        }
    }

    fn link(&mut self, side: Side, name: &IfName) -> Result<Option<Link>> {
        let key = (side, name.clone());
        if let Some(known) = self.links.get(&key) {
            return Ok(known.clone());
        }
        let link = link::by_name(self.executor.side(side)?, name)?;
        self.links.insert(key, link.clone());
        Ok(link)
    }

    fn rules_hold(&self, rules: Rules) -> Result<bool> {
        nftables::is_current(self.executor.host.nft()?, rules)
    }

    fn port_holds(&mut self, name: &IfName, told: impl Fn(&Port) -> bool) -> Result<bool> {
        Ok(self.link(Side::Host, name)?.is_some_and(|link| told(&link.port)))
    }

    fn shape_holds(&mut self, name: &IfName, rate: &Rate) -> Result<bool> {
        let Some(link) = self.link(Side::Host, name)? else { return Ok(false) };
        let bucket = qdisc::bucket_of(self.executor.side(Side::Host)?, link.index)?;
        Ok(bucket.is_some_and(|bucket| bucket.is(rate)))
    }

    fn redirect_holds(&mut self, from: &IfName, to: &IfName) -> Result<bool> {
        let (from, to) = (self.link(Side::Host, from)?, self.link(Side::Host, to)?);
        let Some((from, to)) = from.zip(to) else { return Ok(false) };
        let target = qdisc::redirected_to(self.executor.side(Side::Host)?, from.index)?;
        Ok(target == Some(to.index))
    }

    fn veth_holds(&mut self, veth: &Veth) -> Result<bool> {
        let master = match &veth.bridge {
            Some(bridge) => self.link(Side::Host, bridge)?.map(|link| link.index),
            None => None,
        };
        let near = self.link(Side::Host, &veth.host)?;
        let far = self.link(Side::Container, &veth.container)?;
        Ok(near.zip(far).is_some_and(|(near, far)| {
            near.index == veth.host_index
                && near.master == master
                && near.peer == Some(far.index)
                && far.peer == Some(near.index)
        }))
    }

    fn pair_holds(&mut self, pair: &Pair) -> Result<bool> {
        let master = self.link(Side::Host, &pair.bridge)?.map(|link| link.index);
        let (port, host) = (self.link(Side::Host, &pair.port)?, self.link(Side::Host, &pair.host)?);
        Ok(port.zip(host).is_some_and(|(port, host)| {
            port.master == master && port.peer == Some(host.index) && host.peer == Some(port.index)
        }))
    }

    fn vlans_hold(&mut self, wanted: &PortVlans) -> Result<bool> {
        let Some(link) = self.link(Side::Host, &wanted.name)? else { return Ok(false) };
        if self.vlans.is_none() {
            self.vlans = Some(vlan::of_ports(self.executor.side(Side::Host)?)?);
        }
        let port = self.vlans.as_ref().and_then(|ports| ports.get(&link.index));
        Ok(port.is_some_and(|has| vlan::holds(has, wanted)))
    }

    fn address_holds(&mut self, side: Side, name: &IfName, wanted: HostAddr) -> Result<bool> {
        let Some(link) = self.link(side, name)? else { return Ok(false) };
        let key = (side, link.index);
        if let Some(known) = self.addresses.get(&key) {
            return Ok(known.contains(&wanted));
        }
        let found = address::of_link(self.executor.side(side)?, link.index)?;
        let holds = found.contains(&wanted);
        self.addresses.insert(key, found);
        Ok(holds)
    }

    fn sysctls_hold(&self, side: Side, wanted: &[Sysctl]) -> Result<bool> {
        let holds = |sysctl: &Sysctl| match side {
            Side::Host => sysctl::holds(sysctl),
            Side::Container => Ok(self.container_sysctls.get(sysctl).copied().unwrap_or(false)),
        };
        wanted.iter().try_fold(true, |all, sysctl| Ok(all && holds(sysctl)?))
    }

    fn route_holds(&mut self, wanted: &Route) -> Result<bool> {
        let Some(link) = self.link(wanted.side, &wanted.name)? else { return Ok(false) };
        let matches = |entry: &Entry| {
            entry.destination == wanted.destination
                && entry.link == Some(link.index)
                && entry.via == wanted.via
                && wanted.source.is_none_or(|source| entry.source == Some(source))
                && wanted.metric.is_none_or(|metric| entry.metric == Some(metric))
                && wanted.mtu.is_none_or(|mtu| entry.mtu == Some(mtu))
                && wanted.advmss.is_none_or(|advmss| entry.advmss == Some(advmss))
                && (wanted.destination.family() == Family::V6
                    || wanted.scope.is_none_or(|scope| entry.scope == scope))
        };
        match wanted.side {
            // One look-up: the host's table may be long.
            Side::Host => {
                let rtnl = self.executor.side(Side::Host)?;
                let entry = route::lookup(rtnl, wanted.destination.network())?;
                Ok(entry.is_some_and(|entry| matches(&entry)))
            }
            Side::Container => {
                let table = wanted.table.unwrap_or(MAIN_TABLE);
                let family = wanted.destination.family();
                Ok(self.container_routes(family, table)?.iter().any(matches))
            }
        }
    }

    fn container_routes(&mut self, family: Family, table: u32) -> Result<&[Entry]> {
        let key = (family, table);
        if !self.container_routes.contains_key(&key) {
            let found = route::of_table(self.executor.side(Side::Container)?, family, table)?;
            self.container_routes.insert(key, found);
        }
        Ok(self.container_routes.get(&key).map_or(&[], Vec::as_slice))
    }
}

/// Whether a link is as it was told to be.
fn has(link: &Link, wanted: &LinkAttributes) -> bool {
    let LinkAttributes { mac, mtu, promiscuous, all_multicast, tx_queue_length } = wanted;
    mac.is_none_or(|mac| link.mac == mac.octets())
        && mtu.is_none_or(|mtu| link.mtu == mtu)
        && promiscuous.is_none_or(|on| link.promiscuous == on)
        && all_multicast.is_none_or(|on| link.all_multicast == on)
        && tx_queue_length.is_none_or(|length| link.tx_queue_length == length)
}
