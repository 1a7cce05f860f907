//! Type `firewall`: passage through the host's firewall for a container, and who may open
//! connections to it.

use std::net::IpAddr;

use netup::ident::IfName;
use netup::iptables::ChainName;
use netup::{Admission, Backend, Isolation, Part, PartKind, firewalld, iptables, reference};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::Made;
use crate::cni::types::{Type, chained};

/// The type.
#[derive(Debug)]
pub struct Firewall;

/// The type's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    backend: String,
    iptables_admin_chain_name: String,
    firewalld_zone: String,
    ingress_policy: String,
}

impl Type for Firewall {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let keys: Keys = call.conf.decode()?;
        let made = chained::required(call)?;
        chained::extend(call, Part::Admit(keys.admission(call, made)?))?;
        Ok(made.clone())
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        if chained::retract(call, PartKind::Admit)? {
            return Ok(());
        }
        // A reference plugin may have admitted it; its rules are known by the addresses alone.
        let addresses = call.conf.prev_result.as_ref().map(addresses).unwrap_or_default();
        Ok(reference::remove_firewall(&addresses)?)
    }

    /// Which backend an ADD without one has chosen, the record says: rules that somebody made since
    /// would make it choose another.
    fn check(&self, call: &Call) -> Result<(), Failure> {
        let keys: Keys = call.conf.decode()?;
        chained::required(call)?;
        let asked = matches!(keys.backend.as_str(), "iptables" | "firewalld");
        chained::check(call, PartKind::Admit, asked || keys.isolation()? != Isolation::Open)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        chained::gc(call, PartKind::Admit)
    }
}

impl Keys {
    fn admission(&self, call: &Call, made: &Made) -> Result<Admission, Failure> {
        Ok(Admission {
            addresses: addresses(made),
            link: first_host_link(made),
            port: self.port(call, made)?,
            isolation: self.isolation()?,
            backend: self.backend()?,
        })
    }

    /// The container's port on the bridge, which only matters to neighbours that are kept apart.
    fn port(&self, call: &Call, made: &Made) -> Result<Option<IfName>, Failure> {
        match self.isolation()? {
            Isolation::Isolated => chained::host_end(call, made),
            Isolation::Open | Isolation::SameBridge => Ok(None),
        }
    }

    fn isolation(&self) -> Result<Isolation, Failure> {
        match self.ingress_policy.as_str() {
            "" => Ok(Isolation::Open),
            policy => policy.parse().map_err(|e: netup::Error| {
                Failure::config(format!("unknown ingress policy: {}", e.message()))
                    .details("use open, same-bridge or isolated")
            }),
        }
    }

    /// Our own table lets everything through that nobody else's rules drop, so the others are
    /// needed only where they do.
    fn backend(&self) -> Result<Backend, Failure> {
        let iptables = || -> Result<Backend, Failure> {
            let admin_chain = match self.iptables_admin_chain_name.as_str() {
                "" => ChainName::default(),
                name => name.parse()?,
            };
            Ok(Backend::Iptables { admin_chain })
        };
        let firewalld = || {
            let zone = self.firewalld_zone.as_str();
            Backend::Firewalld { zone: if zone.is_empty() { "trusted" } else { zone }.to_owned() }
        };
        Ok(match self.backend.as_str() {
            "iptables" => iptables()?,
            "nftables" => Backend::Nftables,
            "firewalld" => firewalld(),
            _ if firewalld::is_running()? => firewalld(),
            _ if iptables::forward_is_filtered()? => iptables()?,
            _ => Backend::Nftables,
        })
    }
}

fn addresses(made: &Made) -> Vec<IpAddr> {
    made.ips.iter().map(|ip| ip.address.ip()).collect()
}

/// The bridge, or the container's own link where there is none.
fn first_host_link(made: &Made) -> Option<IfName> {
    let of_host = made.interfaces.iter().find(|interface| interface.sandbox.is_empty())?;
    of_host.name.parse().ok()
}
