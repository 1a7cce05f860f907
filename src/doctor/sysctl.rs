//! Kernel parameters, as the calling thread's network namespace has them.

use std::fs;

/// The value, or `None` where this kernel has no such parameter.
///
/// procfs shows `net` of the namespace of the thread that opens it.
pub fn read(key: &str) -> Option<String> {
    let value = fs::read_to_string(format!("/proc/sys/{key}")).ok()?;
    Some(value.trim().to_owned())
}

/// The value as a number.
pub fn number(key: &str) -> Option<u64> {
    read(key)?.parse().ok()
}

/// A parameter of one interface.
pub fn of_link(family: &str, link: &str, name: &str) -> Option<u64> {
    number(&format!("net/{family}/conf/{link}/{name}"))
}

/// The command that sets it. Slashes, since an interface name may hold a dot.
pub fn command(key: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {key}={value}")
}

/// The same for one parameter of several interfaces.
pub fn commands<'a>(
    family: &str,
    links: impl IntoIterator<Item = &'a str>,
    name: &str,
    value: u8,
) -> String {
    let each =
        links.into_iter().map(|link| command(&format!("net/{family}/conf/{link}/{name}"), value));
    each.collect::<Vec<_>>().join(" && ")
}
