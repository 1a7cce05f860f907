//! The door for people and scripts: the command line.

mod grammar;
mod help;
mod manner;
mod pages;
mod refusal;
mod words;

use std::ffi::OsString;
use std::str::FromStr;

use clap::{Command, CommandFactory, FromArgMatches};
use netup::request::AddressRequest;
use netup::{Bandwidth, Bridging, Error, Network, Result, Selector, TargetName, Topology};

use crate::install::Order;
use crate::invoke::{Invocation, Page, Up, Volume};
use grammar::{Cli, Verb};
use words::Arranged;

pub use manner::manner;
pub use pages::write_manual;

/// Decodes a command line, program name included.
pub fn decode(words: Vec<OsString>) -> Result<Invocation> {
    let up = grammar::up();
    let arranged = words::arrange(&up, words);
    match parse(up, &arranged) {
        Ok(verb) => invocation(verb, &arranged),
        Err(answer) if !answer.use_stderr() => Ok(Invocation::Page(page(&answer))),
        Err(answer) => Err(refusal::one_line(&answer, &arranged)),
    }
}

fn parse(up: Command, arranged: &Arranged) -> Result<Verb, clap::Error> {
    if arranged.verb() == Some("up") {
        // `up` stands where clap expects the program's name.
        let matches = up.try_get_matches_from(&arranged.words[1..])?;
        return grammar::Up::from_arg_matches(&matches).map(|up| Verb::Up(Box::new(up)));
    }
    let matches = Cli::command().try_get_matches_from(&arranged.words)?;
    Cli::from_arg_matches(&matches).map(|cli| cli.verb)
}

fn page(answer: &clap::Error) -> Page {
    let text = answer.render();
    Page { plain: text.to_string(), coloured: text.ansi().to_string() }
}

fn invocation(verb: Verb, arranged: &Arranged) -> Result<Invocation> {
    Ok(match verb {
        Verb::Up(up) => {
            refuse_lone_word(&up, arranged)?;
            Invocation::Up(Box::new(connect(*up)?))
        }
        Verb::Down(down) => Invocation::Down {
            volume: volume(down.quiet, down.verbose),
            selector: Selector { name: down.name, ifname: down.ifname },
        },
        Verb::Ls => Invocation::List,
        Verb::Show(show) => Invocation::Show(Selector { name: show.name, ifname: show.ifname }),
        Verb::Check(check) => Invocation::Check {
            selector: check.name.map(|name| Selector { name, ifname: None }),
            repair: check.repair,
        },
        Verb::Gc => Invocation::CollectGarbage,
        Verb::Reload(reload) if reload.remove => Invocation::RemoveRuleset,
        Verb::Reload(_) => Invocation::Reload,
        Verb::Doctor => Invocation::Doctor,
        Verb::InstallCni(install) => installation(install),
        Verb::Completions(completions) => Invocation::Page(pages::completions(completions.shell)?),
        Verb::Man(man) => match man.dir {
            Some(dir) => Invocation::WriteManual(dir),
            None => Invocation::Page(pages::manual()?),
        },
    })
}

fn installation(install: grammar::InstallCni) -> Invocation {
    let order = Order { dir: install.dir, names: install.names, replace: install.replace };
    match install.uninstall {
        true => Invocation::Uninstall(order),
        false => Invocation::Install(order),
    }
}

fn connect(up: grammar::Up) -> Result<Up> {
    let target = up.target.clone();
    let (id, ifname) = (up.id.clone(), up.ifname.clone());
    let (allow_own_netns, replace, dry_run) = (up.allow_own_netns, up.replace, up.dry_run);
    let volume = volume(up.quiet, up.verbose);
    let network = network(up);
    network.validate()?;
    Ok(Up { target, allow_own_netns, id, ifname, network, replace, dry_run, volume })
}

fn network(up: grammar::Up) -> Network {
    let exact = up.addresses.into_iter().map(AddressRequest::Exact);
    let leased = up.subnets.into_iter().map(AddressRequest::Lease);
    // Every field by name, so that one that is added later must be decided here.
    Network {
        topology: up.bridge.map_or(Topology::Routed, Topology::Bridge),
        addresses: exact.chain(leased).collect(),
        gateways: up.gateways,
        default_route: !up.no_default_route,
        routes: up.routes,
        nat: up.nat,
        publish: up.publish,
        host_ifname: up.host_ifname,
        mac: up.mac,
        mtu: up.mtu,
        sysctls: up.sysctls,
        bandwidth: Bandwidth { ingress: up.bandwidth_in, egress: up.bandwidth_out },
        isolation: up.isolation.unwrap_or_default(),
        bridging: Bridging::default(),
        layer2_only: false,
        routes_beside: false,
    }
}

fn volume(quiet: bool, verbose: bool) -> Volume {
    match (quiet, verbose) {
        (true, _) => Volume::Quiet,
        (false, true) => Volume::Verbose,
        (false, false) => Volume::Normal,
    }
}

/// A mistyped command (`netup lss`) was taken for a target; that it lacks an address would be a
/// puzzling answer.
fn refuse_lone_word(up: &grammar::Up, arranged: &Arranged) -> Result<()> {
    let named = matches!(up.target, TargetName::Named(_));
    if !arranged.verb_supplied || !named || !up.addresses.is_empty() || !up.subnets.is_empty() {
        return Ok(());
    }
    let why =
        format!("{:?} is no command, and as a target it lacks an address", up.target.to_string());
    Err(Error::invalid(why).hint("see netup --help, or give an address such as 10.0.0.2/24"))
}

/// What `down`, `show` and `check` take: the name of a target or the id of a container.
fn selector_name(text: &str) -> Result<String> {
    let as_target = TargetName::from_str(text);
    if text.parse::<netup::ident::ContainerId>().is_err() {
        as_target?;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
