//! Type `static`: addresses that the configuration or the runtime names. It remembers nothing.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netup::{Error, ErrorKind};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::args;
use crate::cni::conf::decode;
use crate::cni::failure::Failure;
use crate::cni::ip;
use crate::cni::ipam::{asked, per_family, routes};
use crate::cni::result::{Dns, Ip, Made, Route};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    addresses: Vec<Address>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
    #[serde(deserialize_with = "ip::address_or_none")]
    gateway: Option<IpAddr>,
}

/// Tells the addresses.
pub fn add(call: &Call) -> Result<Made, Failure> {
    made(call)
}

/// Nothing was taken.
pub fn del(call: &Call) -> Result<(), Failure> {
    let _ = call;
    Ok(())
}

/// Whether the result names the same addresses and gateways.
pub fn check(call: &Call) -> Result<(), Failure> {
    let made = made(call)?;
    let result = call.conf.prev_result.as_ref();
    let result = result.ok_or_else(|| Failure::config("Required prevResult missing"))?;
    let named = |ip: &Ip| {
        result.ips.iter().any(|other| (other.address, other.gateway) == (ip.address, ip.gateway))
    };
    made.ips.iter().find(|ip| !named(ip)).map_or(Ok(()), |ip| {
        let ifname = &call.env.ifname;
        let ip = ip.address.ip();
        let message = format!("static: Failed to match addr {ip} on interface {ifname}");
        Err(Error::new(ErrorKind::Drifted, message).into())
    })
}

/// Whether the configuration can be served.
pub fn status(call: &Call) -> Result<(), Failure> {
    made(call).map(drop)
}

/// Nothing was taken.
pub fn gc(call: &Call) -> Result<(), Failure> {
    let _ = call;
    Ok(())
}

fn made(call: &Call) -> Result<Made, Failure> {
    let ipam = call.conf.get("ipam");
    let ipam = ipam.ok_or_else(|| Failure::config("IPAM config missing 'ipam' key"))?;
    let ipam: Ipam = decode(ipam.clone())?;
    let ips = addresses(call, &ipam)?;
    per_family::validate(call.conf.version, ips.iter().map(|ip| ip.address.is_ipv4()))?;
    Ok(Made {
        interfaces: Vec::new(),
        ips,
        routes: routes::without_zeros(ipam.routes),
        dns: ipam.dns,
    })
}

/// The configuration's addresses and those of `CNI_ARGS`; or in place of both those that the
/// operator asks for; or in place of all those that the runtime asks for.
fn addresses(call: &Call, ipam: &Ipam) -> Result<Vec<Ip>, Failure> {
    let configured = ipam.addresses.iter().map(|Address { address, gateway }| {
        let why =
            || format!("the 'address' field is expected to be in CIDR notation, got: '{address}'");
        Ok(Ip { gateway: *gateway, ..plain(cidr(address, why)?) })
    });
    let mut ips = configured.collect::<Result<Vec<_>, Failure>>()?;
    add_args(call, &mut ips)?;
    for asked in [asked::by_operator(call)?, asked::by_runtime(call)?] {
        if !asked.is_empty() {
            ips = asked.iter().map(|text| entry(text)).collect::<Result<_, _>>()?;
        }
    }
    Ok(ips)
}

/// `CNI_ARGS`: addresses, and gateways for whichever addresses are in their network.
fn add_args(call: &Call, ips: &mut Vec<Ip>) -> Result<(), Failure> {
    let args = args::parse(&call.env.args, &["IP", "GATEWAY"])?;
    let list = |name: &str| {
        let text = args.get(name).map(String::as_str).unwrap_or_default();
        text.split(',').map(str::trim).filter(|text| !text.is_empty())
    };
    for text in list("IP") {
        let why = || format!("the 'ip' field is expected to be in CIDR notation, got: '{text}'");
        ips.push(plain(cidr(text, why)?));
    }
    for text in list("GATEWAY") {
        let gateway = ip::parse(text);
        let bad = || Failure::config(format!("invalid gateway address: {text}"));
        let gateway = gateway.ok_or_else(bad)?;
        ips.iter_mut()
            .filter(|ip| ip.address.contains(gateway))
            .for_each(|ip| ip.gateway = Some(gateway));
    }
    Ok(())
}

fn entry(text: &str) -> Result<Ip, Failure> {
    let why = || format!("an entry in the 'ips' field is NOT in CIDR notation, got: '{text}'");
    cidr(text, why).map(plain)
}

fn cidr(text: &str, why: impl FnOnce() -> String) -> Result<IpNetwork, Failure> {
    ip::parse_cidr(text)
        .ok_or_else(|| Failure::config(why()).details("write it as 10.0.0.2/24 or fd00::2/64"))
}

fn plain(address: IpNetwork) -> Ip {
    Ip { interface: None, address, gateway: None }
}
