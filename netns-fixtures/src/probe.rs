//! Packets that really cross: echo requests, and small servers that tell whom they saw.

mod echo;
mod ping;

pub use echo::{Answer, SctpEcho, TcpEcho, UdpEcho, sctp_ask, tcp_ask, udp_ask};
pub use ping::ping;
