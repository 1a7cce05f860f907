//! What can only be known by trying, tried in a network namespace that ends with its thread.

use std::panic;
use std::thread;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkVeth};

use crate::doctor::program::{Program, install_command};
use crate::doctor::{failure, ok, warning};
use crate::error::{Error, Result};
use crate::kernel::rtnl::Rtnl;
use crate::outcome::Finding;
use crate::ruleset;

/// What the rules need beside nf_tables itself: `dnat`, `masquerade`, `fib` in family inet, `ct`.
const MODULES: &str = "modprobe -a nf_tables nft_chain_nat nft_nat nft_masq nft_fib_inet nft_ct";

pub fn check(nft: Option<&Program>) -> Vec<Finding> {
    let tried = in_new_netns(|| (links(), nft.map(rules)));
    match tried {
        Err(error) => vec![not_made(&error)],
        Ok((links, rules)) => {
            let made = ok("network namespace", "can be made");
            [made].into_iter().chain(links).chain(rules).collect()
        }
    }
}

/// Runs `work` on a thread that moves into a new namespace and never comes back.
fn in_new_netns<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let enter = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::kernel("unshare a network namespace", errno as i32, None))?;
        Ok(work())
    };
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, enter) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
        Err(error) => Err(Error::io("start a thread", &error)),
    })
}

/// A warning: netup connects namespaces that others have made.
fn not_made(error: &Error) -> Finding {
    let remedy = match error.errno() {
        // user.max_net_namespaces, namespaces(7).
        Some(libc::ENOSPC) => "sysctl -w user.max_net_namespaces=65536",
        _ => "sudo netup doctor",
    };
    let found = format!("none can be made, so links and rules were not tried: {}", error.message());
    warning("network namespace", found, remedy)
}

fn links() -> Vec<Finding> {
    let rtnl = match Rtnl::here() {
        Ok((rtnl, _)) => rtnl,
        Err(error) => {
            let remedy = "run netup where netlink sockets are allowed";
            return vec![failure("veth", error.message(), remedy)];
        }
    };
    let veth = add(&rtnl, LinkVeth::new("nu-try0", "nu-try1"));
    let bridge = add(&rtnl, LinkBridge::new("nu-try2"));
    vec![
        match veth {
            Ok(()) => ok("veth", "can be made"),
            Err(why) => failure("veth", why, "modprobe veth"),
        },
        match bridge {
            Ok(()) => ok("bridge", "can be made"),
            Err(why) => {
                warning("bridge", format!("{why}; routed containers need none"), "modprobe bridge")
            }
        },
    ]
}

fn add<T>(rtnl: &Rtnl, link: LinkMessageBuilder<T>) -> std::result::Result<(), String> {
    let message = RouteNetlinkMessage::NewLink(link.build());
    rtnl.change(message, NLM_F_CREATE | NLM_F_EXCL, "cannot be made").map_err(|e| e.message())
}

fn rules(nft: &Program) -> Finding {
    match nft.run(&["-f", "-"], ruleset::TEXT) {
        Ok(_) => ok("rules", "the kernel and nft take netup's table"),
        Err(why) => {
            failure("rules", format!("netup's table is refused: {why}"), rules_remedy(&why))
        }
    }
}

fn rules_remedy(complaint: &str) -> String {
    if complaint.contains("syntax error") {
        return install_command("nftables");
    }
    match complaint.contains("Operation not permitted") {
        true => "sudo netup doctor".to_owned(),
        false => MODULES.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_follows_from_what_nft_says() {
        let missing =
            "/dev/stdin:38:1-70: Error: Could not process rule: No such file or directory";
        assert_eq!(rules_remedy(missing), MODULES);
        let denied = "Error: Could not process rule: Operation not permitted";
        assert_eq!(rules_remedy(denied), "sudo netup doctor");
    }

    #[test]
    fn a_refused_namespace_is_explained() {
        let full = not_made(&Error::kernel("unshare a network namespace", libc::ENOSPC, None));
        assert_eq!(full.remedy.unwrap(), "sysctl -w user.max_net_namespaces=65536");
    }
}
