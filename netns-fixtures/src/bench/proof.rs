//! That a contender really does what it is timed for.

use super::{contender::Reach, world::World};
use netns_fixtures::{Container, probe};
use std::{io, net::IpAddr};

/// Sends packets each way that was promised.
pub fn packets_cross(world: &World, container: &Container, reach: Reach) -> io::Result<()> {
    match reach {
        Reach::Nothing => Ok(()),
        Reach::Host => answers(container, "198.51.100.2"),
        Reach::Published => published4(world, container),
        Reach::PublishedDual => {
            published4(world, container)?;
            answers(container, "2001:db8:1::1")?;
            asked(world, container, "[::]:80", "[2001:db8:1::2]:8080")
        }
    }
}

/// The outside knows no way to the container: that it answers shows NAT.
fn published4(world: &World, container: &Container) -> io::Result<()> {
    answers(container, "198.51.100.1")?;
    asked(world, container, "0.0.0.0:80", "198.51.100.2:8080")
}

fn answers(container: &Container, address: &str) -> io::Result<()> {
    let address: IpAddr = address.parse().map_err(io::Error::other)?;
    probe::ping(container, address).map(drop)
}

fn asked(world: &World, container: &Container, listen: &str, at: &str) -> io::Result<()> {
    let [listen, at] = [listen, at].map(str::parse);
    let server = probe::TcpEcho::start(container, listen.map_err(io::Error::other)?)?;
    let answer = probe::tcp_ask(&world.outside, at.map_err(io::Error::other)?)?;
    drop(server);
    if answer.server == container.name() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} answered in place of the container", answer.server)))
}

/// The container's links, which have to be the same before and after.
pub fn links(container: &Container) -> io::Result<String> {
    container.ip(&["-o", "link"]).map(|text| names(&text))
}

/// Whether lo was left up is not at issue.
fn names(listing: &str) -> String {
    let second = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    listing.lines().map(second).collect::<Vec<_>>().join(" ")
}
