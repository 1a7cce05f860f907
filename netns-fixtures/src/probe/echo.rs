//! Servers that answer with their own name and the peer address they saw, and how to ask them.
//! What the server saw is what tells NAT from no NAT.

use crate::{Node, blame::Blame};
use nix::libc::IPPROTO_SCTP;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io::{self, Read},
    net::{Shutdown, SocketAddr, UdpSocket},
    str,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(2);
const UDP_TRIES: u32 = 4;
/// A name and an address fit in this.
const LINE: usize = 512;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The name of the node the server runs in.
    pub server: String,
    /// The client's address as the server saw it.
    pub client_seen: SocketAddr,
}

/// A TCP server in a node. Stops on drop.
#[derive(Debug)]
pub struct TcpEcho(Server);

/// A UDP server in a node. Stops on drop.
#[derive(Debug)]
pub struct UdpEcho(Server);

/// An SCTP server in a node. Stops on drop.
#[derive(Debug)]
pub struct SctpEcho(Server);

impl TcpEcho {
    /// Listens at `address` in `node`; port 0 takes any.
    pub fn start(node: &Node, address: SocketAddr) -> io::Result<Self> {
        Server::start(node, address, Type::STREAM, Protocol::TCP, answer_stream).map(Self)
    }

    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl UdpEcho {
    /// Receives at `address` in `node`; port 0 takes any.
    pub fn start(node: &Node, address: SocketAddr) -> io::Result<Self> {
        Server::start(node, address, Type::DGRAM, Protocol::UDP, answer_datagram).map(Self)
    }

    /// The address it receives at.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl SctpEcho {
    /// Listens at `address` in `node`. A kernel without SCTP says `EPROTONOSUPPORT`, in `raw_os_error`.
    pub fn start(node: &Node, address: SocketAddr) -> io::Result<Self> {
        sctp_offered()?;
        Server::start(node, address, Type::STREAM, Protocol::from(IPPROTO_SCTP), answer_stream)
            .map(Self)
    }

    /// The address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// Asks a TCP server from `node`.
pub fn tcp_ask(node: &Node, destination: SocketAddr) -> io::Result<Answer> {
    let what = format!("{}: ask tcp {destination}", node.name());
    node.run(|| ask_stream(destination, Protocol::TCP))?.blame(what)
}

/// Asks a UDP server from `node`.
pub fn udp_ask(node: &Node, destination: SocketAddr) -> io::Result<Answer> {
    let what = format!("{}: ask udp {destination}", node.name());
    node.run(|| ask_datagram(destination))?.blame(what)
}

/// Asks an SCTP server from `node`. A kernel without SCTP says `EPROTONOSUPPORT`, in `raw_os_error`.
pub fn sctp_ask(node: &Node, destination: SocketAddr) -> io::Result<Answer> {
    sctp_offered()?;
    let what = format!("{}: ask sctp {destination}", node.name());
    node.run(|| ask_stream(destination, Protocol::from(IPPROTO_SCTP)))?.blame(what)
}

fn sctp_offered() -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(IPPROTO_SCTP))).map(drop)
}

fn ask_stream(destination: SocketAddr, protocol: Protocol) -> io::Result<Answer> {
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, Some(protocol))?;
    socket.connect_timeout(&destination.into(), DEADLINE)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let mut line = String::new();
    (&socket).take(LINE as u64).read_to_string(&mut line)?;
    parse(&line)
}

fn ask_datagram(destination: SocketAddr) -> io::Result<Answer> {
    let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    // Connected, so that only an answer from the address that was asked counts.
    socket.connect(destination)?;
    socket.set_read_timeout(Some(DEADLINE / UDP_TRIES))?;
    let mut line = [0; LINE];
    for _ in 0..UDP_TRIES {
        socket.send(b"?")?;
        match socket.recv(&mut line) {
            Ok(length) => return parse(str::from_utf8(&line[..length]).map_err(io::Error::other)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn line(name: &str, peer: SocketAddr) -> String {
    format!("{name} {peer}\n")
}

fn parse(line: &str) -> io::Result<Answer> {
    let unexpected =
        || io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {line:?}"));
    let (server, peer) = line.trim_end().rsplit_once(' ').ok_or_else(unexpected)?;
    let client_seen = peer.parse().map_err(|_| unexpected())?;
    Ok(Answer { server: server.to_owned(), client_seen })
}

/// Answers one client.
type AnswerOne = fn(&Socket, &str) -> io::Result<()>;

fn answer_stream(listener: &Socket, name: &str) -> io::Result<()> {
    let (client, peer) = listener.accept()?;
    let line = peer.as_socket().map(|peer| line(name, peer)).unwrap_or_default();
    // The line fits into an empty send buffer, so a client that does not read cannot block this.
    client.send(line.as_bytes()).map(drop)
}

fn answer_datagram(socket: &Socket, name: &str) -> io::Result<()> {
    let (_, peer) = socket.recv_from(&mut [])?;
    let line = peer.as_socket().map(|peer| line(name, peer)).unwrap_or_default();
    socket.send_to(line.as_bytes(), &peer).map(drop)
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    socket: Arc<Socket>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(
        node: &Node,
        at: SocketAddr,
        kind: Type,
        protocol: Protocol,
        answer: AnswerOne,
    ) -> io::Result<Self> {
        let what = format!("{}: listen at {at}", node.name());
        // A socket stays in the netns it was made in; the thread that serves it need not be there.
        let socket = Arc::new(node.run(|| listen(at, kind, protocol))?.blame(what)?);
        let address = local_address(&socket)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (socket, stopping, name) =
                (Arc::clone(&socket), Arc::clone(&stopping), node.name().to_owned());
            thread::spawn(move || serve(&socket, &stopping, &name, answer))
        };
        Ok(Self { address, socket, stopping, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread out of accept or recv. A UDP socket says ENOTCONN, and wakes it all the same.
        self.socket.shutdown(Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn listen(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that one node can have 0.0.0.0 and [::] at the same port.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(64)?;
    }
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address: SockAddr = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the server has no IP address"))
}

/// A client that goes away is no reason to stop.
fn serve(socket: &Socket, stopping: &AtomicBool, name: &str, answer: AnswerOne) {
    while !stopping.load(Ordering::SeqCst) {
        answer(socket, name).ok();
    }
}
