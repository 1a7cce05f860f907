//! Whether a step's effect holds in the kernel now. After an attach, for `check`, and before
//! "unchanged" is said. Only what was asked is looked at: the kernel may add things of its own.

use crate::apply::{Executor, is_stored};
use crate::error::Result;
use crate::kernel::nftables::{self, Table};
use crate::kernel::route::Entry;
use crate::kernel::{address, link, netns, route, sysctl};
use crate::plan::{Route, Side, Step, Veth};
use crate::request::Sysctl;

impl Executor<'_> {
    /// The steps whose effect does not hold.
    pub async fn drift<'s>(
        &self,
        steps: impl IntoIterator<Item = &'s Step>,
    ) -> Result<Vec<&'s Step>> {
        let mut drift = Vec::new();
        for step in steps {
            match self.holds(step).await {
                Ok(true) => {}
                Ok(false) => drift.push(step),
                Err(e) if e.is_gone() => drift.push(step),
                Err(e) => return Err(e),
            }
        }
        Ok(drift)
    }

    async fn holds(&self, step: &Step) -> Result<bool> {
        match step {
            Step::InstallRuleset => Ok(nftables::table(&self.host.nft)? == Table::Current),
            Step::WriteSysctl { side, sysctl } => self.sysctl_holds(*side, sysctl),
            Step::AddBridge { name, .. } => {
                Ok(link::by_name(&self.host.rtnl, name).await?.is_some())
            }
            Step::AddVeth(veth) => self.veth_holds(veth).await,
            Step::PinMac { name, mac } => {
                let link = link::by_name(&self.host.rtnl, name).await?;
                Ok(link.is_some_and(|link| link.mac == mac.octets()))
            }
            Step::SetUp { side, name, .. } => {
                Ok(link::by_name(self.side(*side)?, name).await?.is_some_and(|link| link.up))
            }
            Step::AddAddress { side, name, address, .. } => {
                let rtnl = self.side(*side)?;
                let Some(link) = link::by_name(rtnl, name).await? else { return Ok(false) };
                Ok(address::of_link(rtnl, link.index).await?.contains(address))
            }
            Step::AddRoute(wanted) => self.route_holds(wanted).await,
            Step::AddElements(elements) => {
                let stored = |element| is_stored(&self.host.nft, element);
                elements.iter().try_fold(true, |all, element| Ok(all && stored(element)?))
            }
            // These leave nothing that could drift, or nothing that is worth a look.
            Step::Reflect { .. }
            | Step::RemoveRuleset
            | Step::DeleteVeth(_)
            | Step::DeleteBridge(_)
            | Step::SetDown { .. }
            | Step::DeleteAddress { .. }
            | Step::DeleteElements(_)
            | Step::FlushFlows(_) => Ok(true),
        }
    }

    async fn veth_holds(&self, veth: &Veth) -> Result<bool> {
        let master = match &veth.bridge {
            Some(bridge) => link::by_name(&self.host.rtnl, bridge).await?.map(|link| link.index),
            None => None,
        };
        let near = link::by_index(&self.host.rtnl, veth.host_index).await?;
        let far = link::by_name(self.side(Side::Container)?, &veth.container).await?;
        Ok(near.zip(far).is_some_and(|(near, far)| {
            near.name == veth.host.as_str()
                && near.master == master
                && near.peer == Some(far.index)
                && far.peer == Some(near.index)
        }))
    }

    pub(crate) fn sysctl_holds(&self, side: Side, wanted: &Sysctl) -> Result<bool> {
        let value = match (side, &self.container) {
            (Side::Container, Some(container)) => {
                netns::visit(container.target.netns(), || sysctl::read(&wanted.key)).flatten()?
            }
            (Side::Container, None) => return self.side(side).map(|_| false),
            (Side::Host, _) => sysctl::read(&wanted.key)?,
        };
        // The kernel separates several numbers by tabs, people by spaces.
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Ok(value.is_some_and(|value| words(&value) == words(&wanted.value)))
    }

    async fn route_holds(&self, wanted: &Route) -> Result<bool> {
        let rtnl = self.side(wanted.side)?;
        let Some(link) = link::by_name(rtnl, &wanted.name).await? else { return Ok(false) };
        let matches = |entry: &Entry| {
            entry.destination == wanted.destination
                && entry.link == Some(link.index)
                && entry.via == wanted.via
                && wanted.source.is_none_or(|source| entry.source == Some(source))
                && wanted.metric.is_none_or(|metric| entry.metric == Some(metric))
        };
        if wanted.side == Side::Host {
            // One look-up: the host's table may be long.
            return Ok(route::lookup(rtnl, wanted.destination.network())
                .await?
                .is_some_and(|entry| matches(&entry)));
        }
        Ok(route::all(rtnl, wanted.destination.family()).await?.iter().any(matches))
    }
}
