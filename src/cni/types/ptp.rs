//! Type `ptp`: a container behind a link of its own, to which the host routes.

use netup::{Attachment, Network, Topology};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::{Dns, Made};
use crate::cni::types::bridge::check_masquerade_backend;
use crate::cni::types::connection::{self, Connecting};

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

impl Connecting for Ptp {
    fn connect(&self, call: &Call) -> Result<Made, Failure> {
        let keys: Keys = call.conf.decode()?;
        check_masquerade_backend(&keys.ip_masq_backend)?;
        let (attachment, given) = connection::connect_with_ipam(call, |given| keys.network(given))?;
        connection::told(call, keys.made(call, &attachment, given))
    }
}

impl Keys {
    fn made(self, call: &Call, attachment: &Attachment, given: Made) -> Result<Made, Failure> {
        let interfaces = connection::interfaces(call, attachment)?;
        let mut ips = given.ips;
        ips.iter_mut().for_each(|ip| ip.interface = connection::of_container(&interfaces));
        let dns = if self.dns.is_empty() { given.dns } else { self.dns };
        Ok(Made { interfaces, ips, routes: given.routes, dns })
    }

    fn network(&self, given: &Made) -> Result<Network, Failure> {
        if let Some(ip) = given.ips.iter().find(|ip| ip.gateway.is_none()) {
            return Err(Failure::config(format!("the IPAM gave no gateway for {}", ip.address))
                .details(
                    "a ptp container is reached by its gateway; set one in the ipam section",
                ));
        }
        let addresses = connection::exact(given)?;
        Ok(Network {
            topology: Topology::Routed,
            routes: connection::routes(&given.routes, &addresses)?,
            addresses,
            gateways: connection::gateways(given),
            default_route: false,
            routes_beside: true,
            nat: self.ip_masq,
            mtu: (self.mtu > 0).then_some(self.mtu),
            ..Network::new()
        })
    }
}
