//! Type `portmap`: ports of the host that lead to a container that the chain has connected.

use std::net::IpAddr;

use netup::{Part, PartKind, Publishing, reference};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::capabilities::{self, RuntimeConfig};
use crate::cni::failure::Failure;
use crate::cni::result::Made;
use crate::cni::types::{Type, chained};

/// The type.
#[derive(Debug)]
pub struct Portmap;

/// The type's keys. Of `markMasqBit` and `externalSetMarkChain` our rules have no need: no packet
/// is marked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    backend: String,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Vec<String>,
    conditions_v6: Vec<String>,
    runtime_config: RuntimeConfig,
}

impl Type for Portmap {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let keys = Keys::of(call)?;
        let made = chained::required(call)?;
        let mut publishing = keys.publishing(call, made)?;
        if publishing.publish.is_empty() {
            return Ok(made.clone());
        }
        if publishing.addresses.is_empty() {
            return Err(Failure::config(
                "prevResult has no address of the container to map ports to",
            ));
        }
        // A port of an address of the other family leads nowhere.
        if !publishing.ports().is_empty() {
            publishing.host_ifname = chained::host_end(call, made)?;
            chained::extend(call, Part::Publish(publishing))?;
        }
        Ok(made.clone())
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        if !chained::retract(call, PartKind::Publish)? {
            let id = call.id()?;
            let made = call.conf.prev_result.as_ref();
            let addresses = made.map(|made| addresses(call, made)).unwrap_or_default();
            let container = id.container.as_str();
            reference::remove_port_mappings(&call.conf.name, container, &addresses)?;
        }
        Ok(())
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        let keys = Keys::of(call)?;
        let made = chained::required(call)?;
        let wanted = !keys.publishing(call, made)?.ports().is_empty();
        chained::check(call, PartKind::Publish, wanted)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        chained::gc(call, PartKind::Publish)
    }
}

impl Keys {
    fn of(call: &Call) -> Result<Self, Failure> {
        let keys: Self = call.conf.decode()?;
        if !matches!(keys.backend.as_str(), "" | "iptables" | "nftables") {
            return Err(Failure::config(format!("unrecognized backend {:?}", keys.backend))
                .details("use nftables or iptables, or leave backend out"));
        }
        if keys.mark_masq_bit.is_some_and(|bit| !(0..=31).contains(&bit)) {
            return Err(Failure::config("markMasqBit must be between 0 and 31"));
        }
        if keys.mark_masq_bit.is_some() && keys.external_set_mark_chain.is_some() {
            return Err(Failure::config("cannot specify externalSetMarkChain and markMasqBit"));
        }
        if !keys.conditions_v4.is_empty() || !keys.conditions_v6.is_empty() {
            return Err(Failure::new(
                Failure::UNSUPPORTED_FIELD,
                "conditionsV4 and conditionsV6 are not supported: ports are elements of a map, which has no conditions",
            )
            .details("put the condition into the chain user of table inet netup, or keep the reference portmap for this network"));
        }
        Ok(keys)
    }

    fn publishing(&self, call: &Call, made: &Made) -> Result<Publishing, Failure> {
        Ok(Publishing {
            addresses: addresses(call, made),
            publish: capabilities::publish(&self.runtime_config.port_mappings)?,
            local: self.snat.unwrap_or(true),
            masquerade_all: self.masq_all,
            host_ifname: None,
        })
    }
}

/// The container's first address of each family.
fn addresses(call: &Call, made: &Made) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in made.ips.iter().filter(|ip| chained::is_of_container(call, made, ip)) {
        let address = ip.address.ip();
        if !addresses.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
            addresses.push(address);
        }
    }
    addresses
}
