//! Interfaces, and talking to others.

use crate::{Told, kernel, outcome};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(5);
const SIOCGIFFLAGS: u64 = 0x8913;
const SIOCGIFADDR: u64 = 0x8915;
const IFF_UP: u16 = 1;

/// An `ifreq`: the name, then a union.
type InterfaceRequest = [u8; 40];

/// Each interface: `NAME up|down ADDRESS…`, its first IPv4 address and all of IPv6.
pub fn links() -> Told {
    let table = fs::read_to_string("/proc/net/dev").map_err(|e| format!("/proc/net/dev: {e}"))?;
    // No IPv6, no file.
    let table6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| e.to_string())?;
    for name in table.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim) {
        let state = asked(&socket, name, SIOCGIFFLAGS).map_err(|e| format!("{name}: {e}"))?;
        let up = u16::from_ne_bytes([state[16], state[17]]) & IFF_UP != 0;
        let own = asked(&socket, name, SIOCGIFADDR).ok();
        let own = own.map(|r| Ipv4Addr::new(r[20], r[21], r[22], r[23]).to_string());
        let of_link = |line: &&str| line.split_whitespace().last() == Some(name);
        let more = table6.lines().filter(of_link).filter_map(address6);
        let all: Vec<String> = own.into_iter().chain(more).collect();
        println!("{name} {} {}", if up { "up" } else { "down" }, all.join(" "));
    }
    Ok(())
}

fn asked(socket: &UdpSocket, name: &str, request: u64) -> io::Result<InterfaceRequest> {
    let mut data: InterfaceRequest = [0; 40];
    data[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
    kernel::control(socket.as_raw_fd(), request, &mut data).map(|()| data)
}

fn address6(line: &str) -> Option<String> {
    let digits = line.split_whitespace().next()?;
    let number = u128::from_str_radix(digits, 16).ok()?;
    Some(std::net::Ipv6Addr::from(number).to_string())
}

/// `serve tcp|udp ADDRESS [N]`: prints `listening`, then answers everybody, or N clients, with the
/// host name and the address that is seen.
pub fn serve(words: &[OsString]) -> Told {
    let (protocol, address) = endpoint(words)?;
    let clients = if words.len() > 2 { crate::number(&words[2..])? } else { u64::MAX };
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let ended = match protocol.as_str() {
        "tcp" => serve_tcp(address, name.trim_end(), clients),
        _ => serve_udp(address, name.trim_end(), clients),
    };
    println!("{}", outcome(&ended));
    Ok(())
}

fn serve_tcp(address: SocketAddr, name: &str, clients: u64) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for _ in 0..clients {
        let (mut client, peer) = listener.accept()?;
        writeln!(client, "{name} {peer}").ok();
    }
    Ok(())
}

fn serve_udp(address: SocketAddr, name: &str, clients: u64) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening");
    for _ in 0..clients {
        let (_, peer) = socket.recv_from(&mut [0; 512])?;
        socket.send_to(format!("{name} {peer}\n").as_bytes(), peer).ok();
    }
    Ok(())
}

/// `ask tcp|udp ADDRESS`: what is answered, or the errno.
pub fn ask(words: &[OsString]) -> Told {
    let (protocol, address) = endpoint(words)?;
    let answer = if protocol == "tcp" { ask_tcp(address) } else { ask_udp(address) };
    match answer {
        Ok(text) => println!("answer {}", text.trim_end()),
        refused => println!("{}", outcome(&refused)),
    }
    Ok(())
}

fn ask_tcp(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn ask_udp(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.send(b"?")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn endpoint(words: &[OsString]) -> Result<(String, SocketAddr), String> {
    let [protocol, address, ..] = words else { return Err("tcp|udp ADDRESS".to_owned()) };
    let (protocol, address) = (protocol.to_string_lossy(), address.to_string_lossy());
    if !["tcp", "udp"].contains(&protocol.as_ref()) {
        return Err(format!("no protocol {protocol}"));
    }
    let address = address.parse().map_err(|e| format!("{address}: {e}"))?;
    Ok((protocol.into_owned(), address))
}
