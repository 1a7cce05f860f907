//! That a contender's container is one, and is connected to what its row says.

use super::{
    contender::{Contender, Reach},
    stage::Stage,
};
use netns_fixtures::{
    probe::{TcpEcho, tcp_ask},
    program::{self, Ended},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);
const NAT_PORT: u16 = 4000;

/// An error if it is not.
pub fn of(contender: &Contender, stage: &Stage) -> io::Result<()> {
    let told = inside(contender, stage, "proof", &["/probe", "ids", "+", "links"])?;
    let has = |line: &str| told.lines().any(|own| own == line);
    let links: Vec<&str> = told.lines().filter(|line| is_link(line)).collect();
    let fits = match contender.reach {
        Reach::Host => links.iter().any(|link| link.contains("198.51.100.2")),
        Reach::Nothing => links.len() == 1,
        Reach::Published => links.len() == 2,
    };
    if !fits || !(has("pid 1") || has("pid 2")) {
        return Err(io::Error::other(format!("that is not what was asked for: {told}")));
    }
    if contender.reach == Reach::Published { connected(contender, stage) } else { Ok(()) }
}

fn is_link(line: &str) -> bool {
    let state = line.split(' ').nth(1);
    state.is_some_and(|state| ["up", "down"].contains(&state))
}

/// The outside knows no way to the container: that it answers shows NAT.
fn connected(contender: &Contender, stage: &Stage) -> io::Result<()> {
    let outside = contender.outside(stage);
    let any = SocketAddr::from(([0, 0, 0, 0], NAT_PORT));
    let server = TcpEcho::start(outside, any)?;
    let there = format!("198.51.100.1:{NAT_PORT}");
    let told = inside(contender, stage, "proof", &["/probe", "ask", "tcp", &there])?;
    drop(server);
    if !told.starts_with("answer ") {
        return Err(io::Error::other(format!("no way out: {told}")));
    }
    published(contender, stage)
}

/// The container serves one client and ends.
fn published(contender: &Contender, stage: &Stage) -> io::Result<()> {
    let words = ["/probe", "serve", "tcp", "0.0.0.0:80", "1"];
    let command = contender.host(stage).run(|| contender.command(stage, "proof", &words))??;
    let serving = contender.host(stage).run(|| program::start(command, b""))??;
    let host: IpAddr = "198.51.100.2".parse().map_err(io::Error::other)?;
    let started = Instant::now();
    while tcp_ask(contender.outside(stage), SocketAddr::new(host, 8080)).is_err() {
        if started.elapsed() > DEADLINE {
            return Err(io::Error::other("the published port leads nowhere"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    serving.finish(DEADLINE)?.success().map(drop)
}

fn inside(contender: &Contender, stage: &Stage, id: &str, words: &[&str]) -> io::Result<String> {
    let command = contender.command(stage, id, words)?;
    let run = || program::run(command, b"", DEADLINE);
    contender.host(stage).run(run)?.and_then(Ended::success)
}
