//! A real distribution, made once and kept in the target folder.

use super::Root;
use crate::{blame::Blame, program, tools};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{self, Command},
    time::Duration,
};

/// It took 34 s and 206 MiB on two processors with a registry nearby.
const DEADLINE: Duration = Duration::from_secs(900);

/// Where apt gets packages from, and for which release.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    mirror: String,
    release: String,
}

/// Makes it unless it is there. To be called before [`isolate`](crate::enter::isolate): afterwards
/// there is no network to fetch from. Needs root.
pub fn prepare_debian() -> io::Result<Root> {
    let folder = target_folder().join("laboratory");
    fs::create_dir_all(&folder).blame(folder.display())?;
    // Several test processes may come here at once.
    let lock = File::create(folder.join("debian.lock")).blame("create debian.lock")?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let place = folder.join("debian");
    if !place.is_dir() {
        let unfinished = folder.join("debian.new");
        bootstrap(&unfinished)?;
        fs::rename(&unfinished, &place).blame(place.display())?;
    }
    Ok(Root::existing(place))
}

/// The same for a process that is isolated already, which finds what was prepared.
pub fn prepared_debian() -> io::Result<Root> {
    let place = target_folder().join("laboratory/debian");
    let missing = || io::Error::other("the test file has to prepare_debian() before it isolates");
    place.is_dir().then(|| Root::existing(place)).ok_or_else(missing)
}

fn bootstrap(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).blame(folder.display())?;
    }
    let source = source(&listed_sources()?).ok_or_else(|| {
        io::Error::other("apt is configured for no Debian packages; there is no mirror to use")
    })?;
    eprintln!("making a Debian {} for the tests, once", source.release);
    let mut debootstrap = Command::new(tools::find("debootstrap")?);
    debootstrap.args(["--variant=minbase", &source.release]).arg(folder).arg(&source.mirror);
    if let Some(proxy) = proxy()? {
        debootstrap.env("http_proxy", &proxy).env("https_proxy", proxy);
    }
    debootstrap.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    program::run(debootstrap, b"", DEADLINE)?.success().map(drop)
}

/// One line for each place that apt knows: address, release, component.
fn listed_sources() -> io::Result<String> {
    let mut list = Command::new(tools::find("apt-get")?);
    list.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"]);
    list.arg("Created-By: Packages");
    program::run(list, b"", DEADLINE)?.success()
}

/// The release itself, not its updates, has all that a base system needs.
fn source(listing: &str) -> Option<Source> {
    let fields = listing.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut whole = fields.filter_map(|fields| match fields[..] {
        [mirror, release, "main"] if !release.contains('-') => Some((mirror, release)),
        _ => None,
    });
    let (mirror, release) = whole.next()?;
    Some(Source { mirror: mirror.to_owned(), release: release.to_owned() })
}

fn proxy() -> io::Result<Option<String>> {
    let mut ask = Command::new(tools::find("apt-config")?);
    ask.args(["shell", "proxy", "Acquire::http::Proxy"]);
    let answer = program::run(ask, b"", DEADLINE)?.success()?;
    let value = answer.trim().strip_prefix("proxy='").and_then(|rest| rest.strip_suffix('\''));
    Ok(value.map(str::to_owned))
}

/// Above the profile's folder, so that all profiles share it.
fn target_folder() -> PathBuf {
    let own = Path::new(env!("LABORATORY_PROBE"));
    own.ancestors().nth(5).unwrap_or(own).to_owned()
}

/// [`prepare_debian`], ending the process with the cause.
#[doc(hidden)]
pub fn prepare_debian_or_exit() {
    if let Err(error) = prepare_debian() {
        eprintln!("netns-fixtures: {error}");
        process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_told_from_its_updates() {
        let listing = "http://m/debian/ stable-updates main\n\
                       http://m/debian/ stable main\nhttp://m/security/ stable-security main\n";
        let wanted = Source { mirror: "http://m/debian/".into(), release: "stable".into() };
        assert_eq!(source(listing), Some(wanted));
        assert_eq!(source("http://m/debian/ stable contrib\n"), None);
    }
}
