//! `cargo demo`: the real binary connects two containers, packets cross, and nothing is left.

mod drawing;
mod facts;
mod world;

use super::{build, screen::Screen};
use netns_fixtures::{Dump, enter, tools};
use std::{env, io, path::PathBuf, process::ExitCode, time::Instant};
use world::World;

/// What stays on purpose when the last container goes: forwarding, as others may have come to rely on
/// it. With it the kernel clears conf/all/accept_redirects and adds subnet-router anycast addresses.
const KEPT: [&str; 3] = ["forward", "conf/all/accept_redirects", "type=anycast"];

/// Shows everything; fails when any check does.
pub fn run() -> io::Result<ExitCode> {
    // Both need the network, so they come before the namespaces.
    let binary = binary()?;
    tools::require(&["ip", "nft"])?;
    enter::isolate()?;
    let started = Instant::now();
    let mut screen = Screen::new();
    show(&World::new(binary)?, &mut screen)?;
    println!(
        "\n{} checks passed, {} failed, in {:.2} s",
        screen.passed(),
        screen.failed(),
        started.elapsed().as_secs_f64()
    );
    Ok(if screen.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// NETUP names a binary to show in place of the one in the source tree.
fn binary() -> io::Result<PathBuf> {
    env::var_os("NETUP").map_or_else(
        || build::program("netup", &[], None),
        |path| PathBuf::from(path).canonicalize(),
    )
}

fn show(world: &World, screen: &mut Screen) -> io::Result<()> {
    let before = world.dumps()?;
    screen.head("A world of its own");
    screen.text(world.description());
    screen.head("Two containers are connected");
    for arguments in world.connections() {
        typed(world, screen, &arguments)?;
    }
    screen.head("Packets cross");
    facts::check(world, screen)?;
    screen.head("What was made");
    screen.text(drawing::of(&world.listing()?, &world.names())?);
    screen.head("Two containers are taken down");
    for pid in world.pids() {
        typed(world, screen, &["down", &pid.to_string()])?;
    }
    screen.check("no element is left in the rules", world.empty_rules());
    left_behind(world, screen, &before, |dump| dump.without_section("nft"))?;
    screen.head("And the rules, which stay for the next one, go too");
    typed(world, screen, &["reload", "--remove"])?;
    left_behind(world, screen, &before, |dump| dump)
}

/// Runs netup on the host and shows the command and what it printed.
fn typed(world: &World, screen: &mut Screen, arguments: &[impl AsRef<str>]) -> io::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    screen.command(&format!("netup {}", arguments.join(" ")));
    let started = Instant::now();
    let printed = world.netup(&arguments)?;
    let elapsed = started.elapsed();
    screen.text(printed);
    screen.note(&format!("{:.2} ms, process start included", elapsed.as_secs_f64() * 1e3));
    Ok(())
}

/// Compares every node with what it was.
fn left_behind(
    world: &World,
    screen: &mut Screen,
    before: &[(&str, Dump)],
    view: fn(Dump) -> Dump,
) -> io::Result<()> {
    let cleared = |dump: Dump| KEPT.iter().fold(view(dump), |dump, pattern| dump.without(pattern));
    for ((name, before), (_, after)) in before.iter().zip(world.dumps()?) {
        let outcome = unchanged(&cleared(before.clone()), &cleared(after));
        screen.check(&format!("{name} is as it was"), outcome);
    }
    Ok(())
}

fn unchanged(before: &Dump, after: &Dump) -> io::Result<String> {
    if before == after {
        return Ok(format!("{} lines of state compared", before.to_string().lines().count()));
    }
    Err(io::Error::other(before.changes(after)))
}
