//! Type `ptp`: a container behind a link of its own, to which the host routes.

use netup::{Network, Topology};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::{Dns, Made};
use crate::cni::types::bridge::check_masquerade_backend;
use crate::cni::types::{Type, connection};

/// The type.
#[derive(Debug)]
pub struct Ptp;

/// The type's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: u32,
    dns: Dns,
}

impl Type for Ptp {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let keys: Keys = call.conf.decode()?;
        check_masquerade_backend(&keys.ip_masq_backend)?;
        let (attachment, given) = connection::connect_with_ipam(call, |given| keys.network(given))?;
        let interfaces = connection::interfaces(call, &attachment)?;
        let mut ips = given.ips;
        ips.iter_mut().for_each(|ip| ip.interface = interfaces.len().checked_sub(1));
        let own = keys.dns;
        let dns = if own.is_empty() { given.dns } else { own };
        Ok(Made { interfaces, ips, routes: given.routes, dns })
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        connection::disconnect(call)
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        connection::check(call)
    }

    fn status(&self, call: &Call) -> Result<(), Failure> {
        connection::status(call)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        connection::gc(call)
    }
}

impl Keys {
    fn network(&self, given: &Made) -> Result<Network, Failure> {
        if let Some(ip) = given.ips.iter().find(|ip| ip.gateway.is_none()) {
            return Err(Failure::config(format!("the IPAM gave no gateway for {}", ip.address))
                .details(
                    "a ptp container is reached by its gateway; set one in the ipam section",
                ));
        }
        Ok(Network {
            topology: Topology::Routed,
            addresses: connection::exact(given)?,
            gateways: connection::gateways(given),
            default_route: false,
            routes_beside: true,
            routes: connection::routes(&given.routes)?,
            nat: self.ip_masq,
            mtu: (self.mtu > 0).then_some(self.mtu),
            ..Network::new()
        })
    }
}
