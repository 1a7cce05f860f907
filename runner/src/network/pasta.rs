//! By pasta: the container has the host's own addresses, and its connections are the helper's.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use netup::{Protocol, Publish};

use crate::error::{Error, Result};
use crate::network::files::PASTA_DNS;
use crate::network::program::{self, Process};
use crate::network::{INTERFACE, Site, Watch};

/// Where it is, if it can do what is asked.
pub fn validate(publish: &[Publish]) -> Result<PathBuf> {
    if let Some(one) = publish.iter().find(|one| one.protocol == Protocol::Sctp) {
        return Err(Error::invalid(format!("pasta cannot publish {one}: it knows no SCTP")));
    }
    program::find("pasta", "passt")
}

/// Starts it and waits until the container is connected and its ports are published.
pub fn connect(publish: &[Publish], site: &Site<'_>, watch: Option<Watch<'_>>) -> Result<Process> {
    let program = validate(publish)?;
    // It is filled when everything is done, ports included; a descriptor would not do, which pasta
    // closes. The name cannot be a container's.
    let pid_file = site.folder.join(format!(".pasta-{}", site.name));
    // One that a killed runner left would say that this helper is ready.
    program::remove_left_behind(&pid_file)?;
    let arguments = arguments(publish, site, &pid_file);
    let netns = netns(site)?;
    if let Some(watch) = watch {
        watch(&super::words(&program, &arguments));
    }
    let started = Process::start(&program, &arguments, netns).and_then(|mut process| {
        process
            .wait_until(site.ending, || Ok(fs::read(&pid_file).is_ok_and(|pid| !pid.is_empty())))?;
        Ok(process)
    });
    fs::remove_file(&pid_file).ok();
    started
}

fn arguments(publish: &[Publish], site: &Site<'_>, pid_file: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "--foreground".into(),
        "--quiet".into(),
        "--config-net".into(),
        // The gateway's address would lead to the host's loopback.
        "--no-map-gw".into(),
        "--ns-ifname".into(),
        INTERFACE.into(),
        "--dns-forward".into(),
        PASTA_DNS.into(),
        "--pid".into(),
        pid_file.into(),
    ];
    // Nothing of the host's loopback is to be reached from inside, nor the other way round unasked.
    for (option, protocol) in [("--tcp-ports", Protocol::Tcp), ("--udp-ports", Protocol::Udp)] {
        let mut specs = publish.iter().filter(|one| one.protocol == protocol).peekable();
        if specs.peek().is_none() {
            words.extend([option.into(), "none".into()]);
        }
        for one in specs {
            words.extend([option.into(), spec(one).into()]);
        }
    }
    words.extend(["--tcp-ns", "none", "--udp-ns", "none"].map(OsString::from));
    if rustix::process::geteuid().is_root() {
        // Otherwise it becomes nobody, who may not enter the container's network.
        words.extend(["--runas", "0:0"].map(OsString::from));
    }
    match site.in_userns {
        true => words.extend([
            "--userns".into(),
            format!("/proc/{}/ns/user", site.child).into(),
            "--netns".into(),
            path_of_netns(site).into(),
        ]),
        false => words.extend(["--netns-only", "--netns", "/proc/self/fd/0"].map(OsString::from)),
    }
    words
}

/// Root's helper has given up the right to look into other processes by the time it opens the
/// namespace, so that is handed to it as its standard input.
fn netns(site: &Site<'_>) -> Result<Stdio> {
    if site.in_userns {
        return Ok(Stdio::null());
    }
    let path = path_of_netns(site);
    let file = File::open(&path).map_err(|error| Error::io(format!("open {path}"), &error))?;
    Ok(file.into())
}

fn path_of_netns(site: &Site<'_>) -> String {
    format!("/proc/{}/ns/net", site.child)
}

/// `ADDRESS/FIRST-LAST:FIRST-LAST`, without the address for all.
fn spec(publish: &Publish) -> String {
    let ports = format!("{}:{}", publish.host, publish.container);
    match publish.host_ip {
        Some(IpAddr::V4(ip)) => format!("{ip}/{ports}"),
        Some(IpAddr::V6(ip)) => format!("{ip}/{ports}"),
        None => ports,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_in_its_words() {
        let spec = |text: &str| spec(&text.parse().unwrap());
        assert_eq!(spec("8080:80"), "8080:80");
        assert_eq!(spec("127.0.0.1:80-82:90-92/udp"), "127.0.0.1/80-82:90-92");
        assert_eq!(spec("[2001:db8::1]:80:80"), "2001:db8::1/80:80");
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let error = validate(&["80:80/sctp".parse().unwrap()]).unwrap_err();
        assert!(error.to_string().contains("no SCTP"), "{error}");
    }
}
