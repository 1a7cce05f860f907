//! Sockets of the host that already take what is to be published, over sock_diag(7). Nothing is
//! bound to find out: a probe that takes the port, however briefly, can make a server fail.

use std::fs;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use crate::addr::Family;
use crate::error::{Error, Result};
use crate::kernel::answer;
use crate::publish::Protocol;

/// A socket that waits for whoever comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub protocol: Protocol,
    /// The address it is bound to; unspecified is any.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an IPv6 socket leaves IPv4 alone.
    pub v6_only: bool,
    /// Its inode, by which its process can be found.
    pub inode: u32,
}

impl Listener {
    /// Whether a packet to this address and family would reach the socket.
    #[must_use]
    pub fn takes(&self, family: Family, host_ip: Option<IpAddr>) -> bool {
        let any = self.ip.is_unspecified();
        let serves = Family::of(self.ip) == family || (any && self.ip.is_ipv6() && !self.v6_only);
        serves && (any || host_ip.is_none_or(|ip| ip == self.ip))
    }
}

/// Whether the kernel speaks IPv6: without it there are no such sockets.
#[must_use]
pub fn has_ipv6() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).is_ok()
}

/// Every listening socket (TCP, SCTP) or unconnected one (UDP) of the calling thread's namespace.
pub fn listeners(protocol: Protocol) -> Result<Vec<Listener>> {
    let failed = |e: io::Error| Error::io(format!("list {protocol} sockets"), &e);
    let socket = open().map_err(failed)?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let responses = dump(&socket, family, protocol).map_err(failed)?;
        found.extend(responses.into_iter().map(|response| listener(protocol, response)));
    }
    Ok(found)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn dump(socket: &Socket, family: u8, protocol: Protocol) -> io::Result<Vec<InetResponse>> {
    socket.send_to(&request(family, protocol), &SocketAddr::new(0, 0), 0)?;
    let mut found = Vec::new();
    let mut answer = answer::room();
    loop {
        answer.clear();
        socket.recv(&mut *answer, 0)?;
        if !collect(&answer, &mut found)? {
            return Ok(found);
        }
    }
}

fn request(family: u8, protocol: Protocol) -> Vec<u8> {
    let states = match protocol {
        Protocol::Tcp | Protocol::Sctp => StateFlags::LISTEN,
        Protocol::Udp => StateFlags::CLOSE,
    };
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest {
        family,
        protocol: protocol.number(),
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(request));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    buffer
}

/// Adds a datagram's sockets; false at the end of the dump.
fn collect(mut datagram: &[u8], found: &mut Vec<InetResponse>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let message =
            NetlinkMessage::<SockDiagMessage>::deserialize(datagram).map_err(io::Error::other)?;
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                found.push(*socket);
            }
            // ENOENT: no such protocol in this kernel, so nobody can listen on it.
            NetlinkPayload::Error(error) => return ended(error.raw_code()),
            NetlinkPayload::Done(done) => return ended(done.code),
            _ => {}
        }
        datagram = datagram.get(length..).unwrap_or_default();
    }
    Ok(true)
}

fn ended(code: i32) -> io::Result<bool> {
    match -code {
        0 | libc::ENOENT => Ok(false),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn listener(protocol: Protocol, response: InetResponse) -> Listener {
    let v6_only = response.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    let id = &response.header.socket_id;
    Listener {
        protocol,
        ip: id.source_address,
        port: id.source_port,
        v6_only,
        inode: response.header.inode,
    }
}

/// The process that holds a socket, as `name (pid N)`. It reads all of `/proc`: for errors only.
#[must_use]
pub fn holder(inode: u32) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.into_iter().find(|pid| holds(*pid, &wanted))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim_end()))
}

fn holds(pid: u32, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|link| link.as_os_str() == wanted)
}
