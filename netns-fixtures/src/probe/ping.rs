//! ICMP echo, in both families.

use crate::{Node, blame::Blame};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

const TIMEOUT: Duration = Duration::from_secs(1);
const TRIES: u16 = 3;
const HEADER: usize = 8;

/// Sends an echo request from `node` and returns the round trip time of the first that is answered.
pub fn ping(node: &Node, destination: IpAddr) -> io::Result<Duration> {
    static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    let what = format!("{}: ping {destination}", node.name());
    node.run(|| Pinger::new(destination, identifier)?.first_answer())?.blame(what)
}

struct Pinger {
    socket: Socket,
    family: Family,
    destination: SockAddr,
    identifier: u16,
}

/// What differs between the two protocols.
struct Family {
    domain: Domain,
    protocol: Protocol,
    request: u8,
    reply: u8,
    /// Raw IPv4 sockets hand over the IP header, and leave the checksum to the sender.
    is_v4: bool,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self {
                domain: Domain::IPV4,
                protocol: Protocol::ICMPV4,
                request: 8,
                reply: 0,
                is_v4: true,
            },
            IpAddr::V6(_) => Self {
                domain: Domain::IPV6,
                protocol: Protocol::ICMPV6,
                request: 128,
                reply: 129,
                is_v4: false,
            },
        }
    }
}

impl Pinger {
    fn new(destination: IpAddr, identifier: u16) -> io::Result<Self> {
        let family = Family::of(destination);
        let socket = Socket::new(family.domain, Type::RAW, Some(family.protocol))?;
        Ok(Self { socket, family, destination: SocketAddr::new(destination, 0).into(), identifier })
    }

    fn first_answer(&self) -> io::Result<Duration> {
        for sequence in 1..=TRIES {
            let sent = Instant::now();
            self.socket.send_to(&self.request(sequence), &self.destination)?;
            if self.answered(sequence, sent + TIMEOUT)? {
                return Ok(sent.elapsed());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {TRIES} echo requests")))
    }

    fn request(&self, sequence: u16) -> [u8; HEADER] {
        let mut packet = [0; HEADER];
        packet[0] = self.family.request;
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        if self.family.is_v4 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// Reads until our answer or the deadline; raw sockets see everybody's ICMP.
    fn answered(&self, sequence: u16, deadline: Instant) -> io::Result<bool> {
        let mut buffer = [0; 1500];
        while let Some(left) =
            deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.socket.set_read_timeout(Some(left))?;
            match (&self.socket).read(&mut buffer) {
                Ok(length) if self.is_answer(&buffer[..length], sequence) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn is_answer(&self, packet: &[u8], sequence: u16) -> bool {
        let words = |byte: u8| usize::from(byte & 0xf);
        let skip =
            if self.family.is_v4 { packet.first().map_or(0, |first| words(*first) * 4) } else { 0 };
        packet.get(skip..skip + HEADER).is_some_and(|icmp| {
            icmp[0] == self.family.reply
                && icmp[4..6] == self.identifier.to_be_bytes()
                && icmp[6..8] == sequence.to_be_bytes()
        })
    }
}

/// RFC 1071, for an even number of bytes.
fn checksum(packet: &[u8]) -> u16 {
    let words =
        packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    // One fold is enough: a packet of eight bytes cannot carry more than three.
    !(folded as u16)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let mut packet = [8, 0, 0, 0, 0xff, 0xfe, 0xff, 0xfd];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }
}
