//! What a runtime passes for the capabilities that a plugin declares (`runtimeConfig`), and what a
//! person writes under the same keys.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netup::{Bandwidth, Publish, Rate};
use serde::Deserialize;

use crate::cni::failure::Failure;

/// `runtimeConfig`, as far as our types read it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// Ports to publish.
    pub port_mappings: Vec<PortMapping>,
    /// Limits.
    pub bandwidth: Option<BandwidthKeys>,
    /// The interface's hardware address.
    pub mac: String,
    /// Addresses that are asked for.
    pub ips: Vec<String>,
}

/// A port of the host that leads to a port of the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

impl PortMapping {
    /// The mapping, checked.
    pub fn publish(&self) -> Result<Publish, Failure> {
        let host = port("hostPort", self.host_port)?;
        let container = port("containerPort", self.container_port)?;
        let protocol = if self.protocol.is_empty() { "tcp" } else { &self.protocol };
        // An IPv4 address may be written in the form that IPv6 has for it.
        let address = match self.host_ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            _ if self.host_ip.is_empty() => String::new(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:"),
            Ok(IpAddr::V4(ip)) => format!("{ip}:"),
            Err(_) => {
                let msg = format!("portMappings: hostIP {:?} is not an IP address", self.host_ip);
                return Err(Failure::config(msg));
            }
        };
        format!("{address}{host}:{container}/{protocol}").parse().map_err(Failure::from)
    }
}

fn port(key: &str, value: i64) -> Result<u16, Failure> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Failure::config(format!(
            "portMappings: {key} {value} is not a number from 1 to 65535"
        ))),
    }
}

/// Every mapping, checked. One that is given twice counts once.
pub fn publish(mappings: &[PortMapping]) -> Result<Vec<Publish>, Failure> {
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    for mapping in mappings {
        let publish = mapping.publish()?;
        all.extend(known.insert(publish).then_some(publish));
    }
    Ok(all)
}

/// Limits, in bits per second and bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BandwidthKeys {
    /// What the container receives.
    pub ingress_rate: u64,
    /// What it may receive at once.
    pub ingress_burst: u64,
    /// What it sends.
    pub egress_rate: u64,
    /// What it may send at once.
    pub egress_burst: u64,
}

impl BandwidthKeys {
    /// Whether none of the keys says anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits, checked.
    pub fn bandwidth(&self) -> Result<Bandwidth, Failure> {
        let bandwidth = Bandwidth {
            ingress: rate("ingress", self.ingress_rate, self.ingress_burst)?,
            egress: rate("egress", self.egress_rate, self.egress_burst)?,
        };
        bandwidth.validate()?;
        Ok(bandwidth)
    }
}

fn rate(way: &str, rate: u64, burst: u64) -> Result<Option<Rate>, Failure> {
    match (rate, burst) {
        (0, 0) => Ok(None),
        (0, _) => Err(Failure::config(format!("if {way} burst is set, rate must also be set"))),
        (_, 0) => Err(Failure::config(format!("if {way} rate is set, burst must also be set"))),
        (bits_per_second, burst_bits) => Ok(Some(Rate { bits_per_second, burst_bits })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(host: i64, container: i64, protocol: &str, ip: &str) -> PortMapping {
        PortMapping {
            host_port: host,
            container_port: container,
            protocol: protocol.to_owned(),
            host_ip: ip.to_owned(),
        }
    }

    #[test]
    fn mappings_become_published_ports() {
        let table = [
            (mapping(8080, 80, "tcp", ""), "8080:80/tcp"),
            (mapping(8080, 80, "", ""), "8080:80/tcp"),
            (mapping(53, 53, "UDP", "127.0.0.1"), "127.0.0.1:53:53/udp"),
            (mapping(53, 53, "udp", "fd00::1"), "[fd00::1]:53:53/udp"),
            (mapping(80, 80, "tcp", "0.0.0.0"), "0.0.0.0:80:80/tcp"),
            (mapping(80, 80, "tcp", "::ffff:192.0.2.1"), "192.0.2.1:80:80/tcp"),
        ];
        for (mapping, text) in table {
            assert_eq!(mapping.publish().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_a_configuration_error() {
        let bad = [
            mapping(0, 80, "tcp", ""),
            mapping(80, 0, "tcp", ""),
            mapping(-1, 80, "tcp", ""),
            mapping(65536, 80, "tcp", ""),
            mapping(80, 80, "icmp", ""),
            mapping(80, 80, "tcp", "nowhere"),
            mapping(80, 80, "tcp", "224.0.0.1"),
        ];
        for mapping in bad {
            assert_eq!(mapping.publish().unwrap_err().code, Failure::CONFIG, "{mapping:?}");
        }
    }

    #[test]
    fn a_rate_needs_a_burst() {
        let keys = |ingress_rate, ingress_burst| BandwidthKeys {
            ingress_rate,
            ingress_burst,
            ..BandwidthKeys::default()
        };
        assert!(keys(8000, 0).bandwidth().is_err());
        assert!(keys(0, 8000).bandwidth().is_err());
        assert!(keys(8000, u64::MAX).bandwidth().is_err());
        assert!(keys(0, 0).bandwidth().unwrap().is_unlimited());
        assert!(keys(8000, 8000).bandwidth().unwrap().ingress.is_some());
    }
}
