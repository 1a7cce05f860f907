//! The options that connect a container, as in `netup`.

use std::net::IpAddr;

use lexopt::Parser;
use netup::{Network, Publish};

use super::{values, wrong};
use crate::error::{Error, Result};
use crate::request::{Helper, Net};

/// The words so far.
#[derive(Debug, Default)]
pub(super) struct NetOptions {
    words: Vec<String>,
    nat: bool,
    publish: Vec<Publish>,
    bridge: Option<String>,
    gateways: Vec<IpAddr>,
    no_default_route: bool,
    mtu: Option<u32>,
    dns: Vec<IpAddr>,
}

impl NetOptions {
    pub(super) fn publish(&mut self, text: &str) -> Result<()> {
        self.publish.push(text.parse().map_err(|error: netup::Error| {
            in_words_of_ours(&error).hint("give -p 8080:80, -p 127.0.0.1:8080:80 or -p 53:53/udp")
        })?);
        Ok(())
    }

    /// Whether it is an option of the network.
    pub(super) fn long(&mut self, name: &str, parser: &mut Parser) -> Result<bool> {
        let mut value = || parser.value().map_err(wrong).and_then(values::text);
        match name {
            "net" => self.words.push(value()?),
            "publish" => {
                let text = value()?;
                self.publish(&text)?;
            }
            "bridge" => self.bridge = Some(value()?),
            "gateway" => self.gateways.push(address("--gateway", &value()?)?),
            "dns" => self.dns.push(address("--dns", &value()?)?),
            "mtu" => self.mtu = Some(mtu(&value()?)?),
            "nat" => self.nat = true,
            "no-default-route" => self.no_default_route = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the words come to together, and the name servers.
    pub(super) fn finish(self) -> Result<(Net, Vec<IpAddr>)> {
        let net = match self.words.as_slice() {
            [] => Net::None,
            [word] => match special(word, &self.publish) {
                Some(net) => net,
                None => return self.attach(),
            },
            _ => return self.attach(),
        };
        self.refuse_idle_options(&net)?;
        Ok((net, self.dns))
    }

    fn attach(self) -> Result<(Net, Vec<IpAddr>)> {
        let mut network = Network::new();
        for word in &self.words {
            network = network.address(word.parse().map_err(|error: netup::Error| {
                in_words_of_ours(&error).hint(
                    "--net takes none, host, pasta, slirp4netns, netns:PATH, or addresses such as \
                     10.0.0.2/24",
                )
            })?);
        }
        network = network.nat(self.nat);
        for publish in self.publish {
            network = network.publish(publish);
        }
        if let Some(bridge) = self.bridge {
            network =
                network.bridge(bridge.parse().map_err(|e: netup::Error| in_words_of_ours(&e))?);
        }
        network.gateways = self.gateways;
        network.default_route = !self.no_default_route;
        network.mtu = self.mtu;
        network.validate().map_err(|error| in_words_of_ours(&error))?;
        Ok((Net::Attach(Box::new(network)), self.dns))
    }

    /// An option without effect is a mistake of the caller's, and may be one of safety.
    fn refuse_idle_options(&self, net: &Net) -> Result<()> {
        let publishes = matches!(net, Net::Userspace { .. });
        let idle = [
            ("--nat", self.nat),
            ("--bridge", self.bridge.is_some()),
            ("--gateway", !self.gateways.is_empty()),
            ("--no-default-route", self.no_default_route),
            ("--mtu", self.mtu.is_some()),
            ("-p", !self.publish.is_empty() && !publishes),
        ];
        match idle.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some(("-p", _)) => Err(Error::invalid("-p needs a network")
                .hint("connect the container with --net pasta or --net 10.0.0.2/24")),
            Some((option, _)) => Err(Error::invalid(format!("{option} needs addresses"))
                .hint("connect the container with --net 10.0.0.2/24")),
        }
    }
}

fn special(word: &str, publish: &[Publish]) -> Option<Net> {
    let userspace = |helper| Net::Userspace { helper, publish: publish.to_vec() };
    match word {
        "none" => Some(Net::None),
        "host" => Some(Net::Host),
        "pasta" => Some(userspace(Helper::Pasta)),
        "slirp4netns" => Some(userspace(Helper::Slirp4netns)),
        _ => word.strip_prefix("netns:").map(|path| Net::Join(path.into())),
    }
}

fn address(option: &str, text: &str) -> Result<IpAddr> {
    text.parse().map_err(|e: std::net::AddrParseError| {
        Error::invalid(format!("{option} {text:?} is no address ({e})"))
    })
}

fn mtu(text: &str) -> Result<u32> {
    text.parse().map_err(|e| Error::invalid(format!("--mtu {text:?} is no number ({e})")))
}

/// The core's own words, without the remedy that names its own help.
fn in_words_of_ours(error: &netup::Error) -> Error {
    Error::invalid(error.message())
}
