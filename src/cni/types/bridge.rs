//! Type `bridge`: a container on a bridge of the host.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netup::ident::Mac;
use netup::{Attachment, Bridging, Network, Topology, VlanRange};
use serde::Deserialize;

use crate::cni::capabilities::RuntimeConfig;
use crate::cni::failure::Failure;
use crate::cni::result::{Dns, Made, Route};
use crate::cni::types::connection::{self, Connecting};
use crate::cni::{Call, args, ipam};

/// The type.
#[derive(Debug)]
pub struct Bridge;

/// The type's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: u32,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Vec<Trunk>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    dns: Dns,
    runtime_config: RuntimeConfig,
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    mac: String,
}

/// One VLAN or a range of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trunk {
    id: Option<i64>,
    #[serde(rename = "minID")]
    min_id: Option<i64>,
    #[serde(rename = "maxID")]
    max_id: Option<i64>,
}

impl Connecting for Bridge {
    fn connect(&self, call: &Call) -> Result<Made, Failure> {
        let keys = Keys::of(call)?;
        if !ipam::configured(call) {
            let attachment = connection::connect(call, keys.network(call, None)?)?;
            return connection::told(call, keys.made(call, &attachment, Made::default()));
        }
        if keys.disable_container_interface {
            return Err(Failure::config(
                "cannot use IPAM when the container interface is left down (disableContainerInterface)",
            ));
        }
        let (attachment, given) =
            connection::connect_with_ipam(call, |given| keys.network(call, Some(given)))?;
        connection::told(call, keys.made(call, &attachment, given))
    }
}

impl Keys {
    fn of(call: &Call) -> Result<Self, Failure> {
        let mut keys: Self = call.conf.decode()?;
        if keys.bridge.is_empty() {
            keys.bridge = "cni0".to_owned();
        }
        keys.is_gateway |= keys.is_default_gateway;
        check_masquerade_backend(&keys.ip_masq_backend)?;
        Ok(keys)
    }

    /// The later of the three sources wins.
    fn mac(&self, call: &Call) -> Result<Option<Mac>, Failure> {
        let of_args = args::parse(&call.env.args, &["MAC"])?.remove("MAC").unwrap_or_default();
        let sources = [&self.runtime_config.mac, &self.args.cni.mac, &of_args];
        let mac = sources.into_iter().find(|mac| !mac.is_empty());
        Ok(mac.map(|mac| mac.parse()).transpose()?)
    }

    fn network(&self, call: &Call, given: Option<&Made>) -> Result<Network, Failure> {
        let mut network = Network {
            topology: Topology::Bridge(self.bridge.parse()?),
            default_route: false,
            routes_beside: true,
            nat: self.ip_masq && given.is_some(),
            mac: self.mac(call)?,
            mtu: (self.mtu > 0).then_some(self.mtu),
            bridging: self.bridging()?,
            layer2_only: given.is_none(),
            ..Network::new()
        };
        if let Some(given) = given {
            let completed = self.completed(given);
            network.addresses = connection::exact(&completed)?;
            network.gateways = connection::gateways(&completed);
            network.routes = connection::routes(&self.all_routes(&completed), &network.addresses)?;
        }
        Ok(network)
    }

    fn bridging(&self) -> Result<Bridging, Failure> {
        let trunk = self.vlan_trunk.iter().map(Trunk::range).collect::<Result<_, _>>()?;
        Ok(Bridging {
            host_gateway: self.is_gateway,
            adopt: true,
            force_address: self.force_address,
            promiscuous: self.promisc_mode,
            hairpin: self.hairpin_mode,
            isolated_port: self.port_isolation,
            vlan: match self.vlan {
                0 => None,
                id => Some(vlan(id)?),
            },
            trunk,
            keep_default_vlan: self.preserve_default_vlan,
            guard_mac: self.macspoofchk,
            detect_duplicates: self.enabledad,
            leave_down: self.disable_container_interface,
        })
    }

    /// What was given, with the gateway that the host will be where none was named.
    fn completed(&self, given: &Made) -> Made {
        let mut given = given.clone();
        for ip in given.ips.iter_mut().filter(|ip| ip.gateway.is_none() && self.is_gateway) {
            ip.gateway = first_host(ip.address);
        }
        given
    }

    /// The given routes, and with `isDefaultGateway` a default route per family that has none.
    fn all_routes(&self, given: &Made) -> Vec<Route> {
        let mut routes = given.routes.clone();
        for ip in given.ips.iter().filter(|_| self.is_default_gateway) {
            let default = |route: &Route| {
                route.dst.prefix() == 0
                    && route.dst.is_ipv4() == ip.address.is_ipv4()
                    && route.gw.is_some()
            };
            if let (Some(gateway), false) = (ip.gateway, routes.iter().any(default)) {
                routes.extend(Route::default_by(gateway));
            }
        }
        routes
    }

    fn made(&self, call: &Call, attachment: &Attachment, given: Made) -> Result<Made, Failure> {
        let given = self.completed(&given);
        let routes = self.all_routes(&given);
        let interfaces = connection::interfaces(call, attachment)?;
        let of_container = connection::of_container(&interfaces);
        let mut ips = given.ips;
        ips.iter_mut().for_each(|ip| ip.interface = of_container);
        let own = self.dns.clone();
        let dns = if own.is_empty() { given.dns } else { own };
        Ok(Made { interfaces, ips, routes, dns })
    }
}

/// Whatever the backend, it is our own rules that masquerade.
pub fn check_masquerade_backend(backend: &str) -> Result<(), Failure> {
    match backend {
        "" | "iptables" | "nftables" => Ok(()),
        other => Err(Failure::config(format!("unknown ipmasq backend {other:?}"))
            .details("use nftables or iptables, or leave ipMasqBackend out")),
    }
}

impl Trunk {
    fn range(&self) -> Result<VlanRange, Failure> {
        match (self.id, self.min_id, self.max_id) {
            (Some(id), None, None) => Ok(VlanRange { first: vlan(id)?, last: vlan(id)? }),
            (None, Some(first), Some(last)) => {
                Ok(VlanRange { first: vlan(first)?, last: vlan(last)? })
            }
            _ => Err(Failure::config("vlanTrunk: an entry has either id, or minID and maxID")),
        }
    }
}

fn vlan(id: i64) -> Result<u16, Failure> {
    match u16::try_from(id) {
        Ok(id) if id <= 4094 => Ok(id),
        _ => Err(Failure::config(format!("invalid VLAN ID {id} (must be between 0 and 4094)"))),
    }
}

/// The address after the network's own, by which the host is the gateway.
fn first_host(address: IpNetwork) -> Option<IpAddr> {
    match address.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|ip| IpAddr::V6(ip.into())),
    }
}
