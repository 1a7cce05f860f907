//! Connection tracking: whether it answers over netlink, and whether its table has room.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::doctor::{failure, ok, sysctl, warning};
use crate::outcome::Finding;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS`: the smallest question there is.
const GET_STATS: u16 = 1 << 8 | 5;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// `nlmsghdr` (16 bytes) and `nfgenmsg` (4 bytes).
const LENGTH: u8 = 20;
const SUBJECT: &str = "conntrack";

pub fn check() -> Vec<Finding> {
    let reached = match ask() {
        Ok(()) => ok(SUBJECT, "answers over netlink"),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => no_right(),
        Err(error) => warning(
            SUBJECT,
            format!(
                "does not answer over netlink ({error}), so stale UDP connections to a published port stay"
            ),
            "modprobe nf_conntrack_netlink",
        ),
    };
    let (count, max) = (sysctl::number(COUNT), sysctl::number(MAX));
    let room = count.zip(max).map(|(count, max)| room(count, max));
    [reached].into_iter().chain(room).collect()
}

const COUNT: &str = "net/netfilter/nf_conntrack_count";
const MAX: &str = "net/netfilter/nf_conntrack_max";

/// nfnetlink wants `CAP_NET_ADMIN` over the namespace even to be asked, so this is the one check
/// that sees a capability which does not reach here.
fn no_right() -> Finding {
    failure("rights", "this process may not change this network namespace", "sudo netup doctor")
}

/// When the table is full, new connections are dropped (nf_conntrack: table full, dropping packet).
fn room(count: u64, max: u64) -> Finding {
    let subject = "conntrack table";
    let found = format!("{count} of {max} entries are used");
    // A maximum of 0 is none.
    match max > 0 && count >= max - max / 5 {
        true => warning(
            subject,
            format!("{found}; when full, new connections are dropped"),
            sysctl::command(MAX, max * 2),
        ),
        false => ok(subject, found),
    }
}

fn ask() -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.send_to(&request(), &SocketAddr::new(0, 0), 0)?;
    let (reply, _) = socket.recv_from_full()?;
    match errno(&reply) {
        Some(0) | None => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn request() -> [u8; LENGTH as usize] {
    let mut message = [0; LENGTH as usize];
    message[0..4].copy_from_slice(&u32::from(LENGTH).to_ne_bytes());
    message[4..6].copy_from_slice(&GET_STATS.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message
}

/// The errno of an error message, negative as the kernel sends it.
fn errno(reply: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(reply.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Health;

    #[test]
    fn a_table_is_nearly_full_from_four_fifths() {
        assert_eq!(room(79, 100).health, Health::Ok);
        assert_eq!(room(80, 100).health, Health::Warning);
        assert_eq!(room(80, 100).remedy.unwrap(), "sysctl -w net/netfilter/nf_conntrack_max=200");
        assert_eq!(room(0, 0).health, Health::Ok);
    }

    #[test]
    fn error_replies_are_told_from_answers() {
        let mut reply = request();
        assert_eq!(errno(&reply), None);
        reply[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        reply[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(errno(&reply), Some(-libc::EPERM));
        assert_eq!(errno(&reply[..6]), None);
    }
}
