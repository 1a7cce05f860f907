//! The wire format of nfnetlink: header, attributes, one request and its answers.
//!
//! The kernel answers within the send call, and continues a dump within the receive call. So the
//! socket does not block: where nothing is queued, nothing will come.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use crate::error::{Error, Result};
use crate::kernel::answer;

/// `NLMSG_ERROR`, which is also the acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`, the end of a dump.
const NLMSG_DONE: u16 = 3;
/// `NLMSGERR_ATTR_MSG`. The attributes of an error follow the echoed header, since the socket has
/// `NETLINK_CAP_ACK` set.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct nfgenmsg`.
const GENERIC: usize = 4;

/// A message under construction, or a batch of them.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

/// A marker for something whose length is filled in when it is closed.
#[must_use]
pub struct Open(usize);

impl Buffer {
    /// Begins a message: `kind` is subsystem << 8 | message.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        sequence: u32,
    ) -> Open {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.0.extend_from_slice(&sequence.to_ne_bytes());
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&[family, 0]);
        self.0.extend_from_slice(&resource.to_be_bytes());
        Open(at)
    }

    /// Ends a message.
    pub fn end_message(&mut self, open: Open) {
        let length = (self.0.len() - open.0) as u32;
        self.0[open.0..open.0 + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Begins a nested attribute.
    pub fn nest(&mut self, kind: u16) -> Open {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        Open(at)
    }

    /// Ends a nested attribute.
    pub fn end_nest(&mut self, open: Open) {
        let length = (self.0.len() - open.0) as u16;
        self.0[open.0..open.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Adds a NUL-terminated string.
    pub fn text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// What the kernel says.
#[derive(Debug)]
pub enum Answer {
    /// An object, as the attributes after `struct nfgenmsg`.
    Object(Vec<u8>),
    /// A refusal, with the kernel's explanation.
    Refused {
        /// The errno.
        errno: i32,
        /// The kernel's words.
        text: Option<String>,
    },
}

/// A socket of the netfilter family in the calling thread's namespace.
pub struct Nfnetlink(Socket);

impl Nfnetlink {
    /// Opens it.
    pub fn here() -> Result<Self> {
        let failed = |e: io::Error| Error::io("open a NETLINK_NETFILTER socket", &e);
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        Ok(Self(socket))
    }

    /// The socket's descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open as long as the socket, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }

    /// Sends a buffer.
    pub fn send(&self, buffer: &Buffer) -> io::Result<()> {
        self.make_room(buffer.len());
        self.0.send_to(&buffer.0, &SocketAddr::new(0, 0), 0).map(drop)
    }

    /// A batch must arrive in one piece; a thousand ports do not fit the default buffer. The
    /// acknowledgements need room as well. What the kernel refuses here shows at `send`.
    fn make_room(&self, length: usize) {
        let fd = self.as_fd();
        if length > 100_000 {
            let _ = setsockopt(&fd, sockopt::SndBuf, &(length * 2)).is_ok()
                && setsockopt(&fd, sockopt::SndBufForce, &(length * 2)).is_ok()
                && setsockopt(&fd, sockopt::RcvBufForce, &(length * 4)).is_ok();
        }
    }

    /// Sends a buffer and gives all that the kernel answers to `each`.
    pub fn exchange(
        &self,
        buffer: &Buffer,
        operation: &impl Display,
        mut each: impl FnMut(Answer),
    ) -> Result<()> {
        let failed = |e: io::Error| Error::io(operation.to_string(), &e);
        self.send(buffer).map_err(failed)?;
        let mut answer = answer::room();
        loop {
            answer.clear();
            match self.0.recv(&mut *answer, 0) {
                Ok(_) => answers(&answer).into_iter().for_each(&mut each),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Sends requests; the first refusal among the answers is the error.
    pub fn request(&self, buffer: &Buffer, operation: &impl Display) -> Result<Vec<Vec<u8>>> {
        let (mut objects, mut refusal) = (Vec::new(), None);
        self.exchange(buffer, operation, |answer| match answer {
            Answer::Object(attributes) => objects.push(attributes),
            Answer::Refused { errno, text } => {
                refusal.get_or_insert_with(|| Error::kernel(operation.to_string(), errno, text));
            }
        })?;
        refusal.map_or(Ok(objects), Err)
    }

    /// Asks for one object; `None` if the kernel says ENOENT.
    pub fn get(&self, buffer: &Buffer, operation: &impl Display) -> Result<Option<Vec<u8>>> {
        match self.request(buffer, operation) {
            Ok(objects) => Ok(objects.into_iter().next()),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

fn answers(mut datagram: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some((message, rest)) = split_message(datagram) {
        found.extend(answer(message));
        datagram = rest;
    }
    found
}

fn split_message(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
    let message = datagram.get(..length).filter(|m| m.len() >= HEADER)?;
    Some((message, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn answer(message: &[u8]) -> Option<Answer> {
    match u16::from_ne_bytes([message[4], message[5]]) {
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(message.get(HEADER..HEADER + 4)?.try_into().ok()?);
            let text = message.get(HEADER + 4 + HEADER..).and_then(error_text);
            (code != 0).then_some(Answer::Refused { errno: -code, text })
        }
        NLMSG_DONE => None,
        _ => Some(Answer::Object(message.get(HEADER + GENERIC..)?.to_vec())),
    }
}

fn error_text(attributes: &[u8]) -> Option<String> {
    let text = find(attributes, NLMSGERR_ATTR_MSG)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

/// The value of the first attribute of this kind.
pub fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// Every attribute with its kind, the flag bits taken off.
pub fn each(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NLA_TYPE_MASK, value))
    })
}
