//! `resolvConf`: DNS settings for the result, from a file in the form of resolv.conf(5).

use std::fs;
use std::path::Path;

use crate::cni::failure::Failure;
use crate::cni::ipam::host_local::file_failed;
use crate::cni::result::Dns;

/// Reads the settings of a file.
pub fn read(path: &Path) -> Result<Dns, Failure> {
    let text = fs::read_to_string(path).map_err(|e| file_failed("read", path, &e))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or(dns.domain),
            Some("search") => dns.search.extend(words),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_and_what_does_not() {
        let dns = parse(
            "# comment\n; another\nnameserver 192.0.2.1\n  nameserver  fd00::1 rest\nnameserver\n\
             domain example.com\ndomain\nsearch a.example b.example\nsearch c.example\n\
             options ndots:5 rotate\nsortlist 10.0.0.0\n",
        );
        assert_eq!(dns.nameservers, ["192.0.2.1", "fd00::1"]);
        assert_eq!(dns.domain, "example.com");
        assert_eq!(dns.search, ["a.example", "b.example", "c.example"]);
        assert_eq!(dns.options, ["ndots:5", "rotate"]);
    }
}
