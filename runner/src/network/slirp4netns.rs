//! By slirp4netns: a small network of its own, 10.0.2.0/24, behind the helper.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use netup::{Protocol, Publish};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::network::program::{self, Process};
use crate::network::{INTERFACE, Site, Watch};

/// The largest it takes; larger packets are fewer.
const MTU: u32 = 65520;
/// How long it may take to publish a port.
const PATIENCE: Duration = Duration::from_secs(5);

/// A helper, which also ends when this end of a pipe is closed.
#[derive(Debug)]
pub struct Slirp {
    process: Process,
    _exit: OwnedFd,
}

impl Slirp {
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Where it is, if it can do what is asked.
pub fn validate(publish: &[Publish]) -> Result<PathBuf> {
    for one in publish {
        let refused = |why: &str| {
            Err(Error::invalid(format!("slirp4netns cannot publish {one}: {why}"))
                .hint("use --net pasta"))
        };
        match (one.protocol, one.host_ip) {
            (Protocol::Sctp, _) => return refused("it knows no SCTP"),
            (_, Some(IpAddr::V6(_))) => return refused("it publishes on IPv4 only"),
            _ => {}
        }
    }
    program::find("slirp4netns", "slirp4netns")
}

/// Starts it and waits until the container is connected and its ports are published.
pub fn connect(publish: &[Publish], site: &Site<'_>, watch: Option<Watch<'_>>) -> Result<Slirp> {
    let program = validate(publish)?;
    let api = site.folder.join(format!(".slirp-{}", site.name));
    program::remove_left_behind(&api)?;
    let (ready, tell_ready) = pipe()?;
    let (told_to_exit, exit) = pipe()?;
    let arguments = arguments(site, &api, &tell_ready, &told_to_exit);
    if let Some(watch) = watch {
        watch(&super::words(&program, &arguments));
    }
    inherited(&tell_ready)?;
    inherited(&told_to_exit)?;
    let mut process = Process::start(&program, &arguments, Stdio::null())?;
    drop((tell_ready, told_to_exit));
    let published = process.wait_until(site.ending, || said(&ready)).and_then(|()| {
        publish
            .iter()
            .try_for_each(|one| forward(one, &api).map_err(|e| e.context(format!("publish {one}"))))
    });
    fs::remove_file(&api).ok();
    published.map(|()| Slirp { process, _exit: exit })
}

fn arguments(site: &Site<'_>, api: &Path, ready: &OwnedFd, exit: &OwnedFd) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "--configure".into(),
        format!("--mtu={MTU}").into(),
        // By 10.0.2.2 one would reach what listens on the host's loopback.
        "--disable-host-loopback".into(),
        "--enable-seccomp".into(),
        "--api-socket".into(),
        api.into(),
        format!("--ready-fd={}", ready.as_raw_fd()).into(),
        format!("--exit-fd={}", exit.as_raw_fd()).into(),
    ];
    if rustix::process::geteuid().is_root() {
        // It shuts itself in as root only; anybody else has no more rights than the container.
        words.push("--enable-sandbox".into());
    }
    if site.in_userns {
        words.push(format!("--userns-path=/proc/{}/ns/user", site.child).into());
    }
    words.push("--netns-type=path".into());
    words.extend([format!("/proc/{}/ns/net", site.child).into(), INTERFACE.into()]);
    words
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .map_err(|errno| Error::kernel("make a pipe", errno))
}

/// This process has one thread and starts nothing else meanwhile.
fn inherited(end: &OwnedFd) -> Result<()> {
    rustix::io::fcntl_setfd(end, rustix::io::FdFlags::empty())
        .map_err(|errno| Error::kernel("leave a pipe to slirp4netns", errno))
}

/// Whether it has written anything; that it has closed its end means that it has ended.
fn said(ready: &OwnedFd) -> Result<bool> {
    match rustix::io::read(ready, &mut [0_u8; 1]) {
        Ok(length) => Ok(length > 0),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::kernel("listen to slirp4netns", errno)),
    }
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

fn forward(publish: &Publish, api: &Path) -> Result<()> {
    publish.pairs().try_for_each(|(host, container)| {
        let request = serde_json::json!({
            "execute": "add_hostfwd",
            "arguments": {
                "proto": publish.protocol.to_string(),
                "host_addr": publish.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
                "host_port": host,
                "guest_port": container,
            },
        });
        let answer = ask(api, &request.to_string())
            .map_err(|e| Error::io(format!("ask slirp4netns at {}", api.display()), &e))?;
        match serde_json::from_str::<Answer>(&answer) {
            Ok(Answer { error: None }) => Ok(()),
            Ok(Answer { error: Some(refusal) }) => Err(Error::new(
                ErrorKind::Network,
                format!("slirp4netns refuses: {}", refusal.desc),
            )),
            Err(e) => {
                Err(Error::new(ErrorKind::Network, format!("slirp4netns answers {answer:?} ({e})")))
            }
        }
    })
}

/// One request a connection; the end of ours is what it waits for.
fn ask(api: &Path, request: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(api)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(request.as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map(|_| answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_cannot_do_is_refused() {
        for bad in ["80:80/sctp", "[2001:db8::1]:80:80"] {
            let error = validate(&[bad.parse().unwrap()]).unwrap_err();
            assert!(error.to_string().contains("--net pasta"), "{error}");
        }
    }

    #[test]
    fn a_refusal_is_told_from_a_result() {
        let answer = |text| serde_json::from_str::<Answer>(text).unwrap().error.map(|e| e.desc);
        assert_eq!(answer(r#"{"return":{"id":1}}"#), None);
        assert_eq!(answer(r#"{"error":{"desc":"bad request"}}"#).unwrap(), "bad request");
    }
}
