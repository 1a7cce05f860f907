//! An rtnetlink connection in one network namespace. A refusal carries the request in `ip` words,
//! the errno and the kernel's own text.

use std::fmt::Display;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures_util::StreamExt;
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_proto::ConnectionHandle;
use netlink_sys::{Socket, SocketAddr, TokioSocket};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::netns;

/// `NLMSGERR_ATTR_MSG`: the kernel's explanation, a NUL-terminated string.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Length of `struct nlmsghdr`, which precedes the attributes of an error message.
const HEADER: usize = 16;

/// A connection; requests are answered in order.
#[derive(Clone)]
pub struct Rtnl {
    handle: ConnectionHandle<RouteNetlinkMessage>,
}

impl Rtnl {
    /// A connection in the calling thread's namespace, with the namespace's cookie.
    pub fn here() -> Result<(Self, u64)> {
        let (socket, cookie) = netns::route_socket()?;
        Ok((Self::over(socket), cookie))
    }

    /// A connection over a socket that was opened in another namespace. Needs a tokio runtime with
    /// IO enabled; the connection ends when the last clone is dropped.
    pub fn over(socket: Socket) -> Self {
        // SAFETY: into_raw_fd gives the descriptor up, so the new socket is its only owner.
        let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        let (connection, handle, _) =
            netlink_proto::from_socket_with_codec::<_, _, netlink_proto::NetlinkCodec>(socket);
        tokio::spawn(connection);
        Self { handle }
    }

    /// Sends a change and waits until the kernel has made it.
    pub async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl Display,
    ) -> Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags, operation).await.map(drop)
    }

    /// Asks for one object.
    pub async fn get(
        &self,
        message: RouteNetlinkMessage,
        operation: impl Display,
    ) -> Result<Option<RouteNetlinkMessage>> {
        // NLM_F_ACK, so that the stream ends after the answer.
        Ok(self.send(message, NLM_F_REQUEST | NLM_F_ACK, operation).await?.into_iter().next())
    }

    /// Asks for all objects that the request's filter lets through.
    pub async fn dump(
        &self,
        message: RouteNetlinkMessage,
        operation: impl Display,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP, operation).await
    }

    async fn send(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl Display,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let lost = || {
            Error::new(ErrorKind::Kernel, format!("{operation}: the netlink connection is closed"))
        };
        let mut answers =
            self.handle.request(request, SocketAddr::new(0, 0)).map_err(|e| lost().context(e))?;
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => found.push(message),
                NetlinkPayload::Error(error) => refused(&error, &operation)?,
                _ => {}
            }
        }
        Ok(found)
    }
}

fn refused(error: &ErrorMessage, operation: &impl Display) -> Result<()> {
    match error.code {
        None => Ok(()),
        Some(code) => {
            Err(Error::kernel(operation.to_string(), -code.get(), kernel_text(&error.header)))
        }
    }
}

/// The text among the attributes that follow the request's header.
fn kernel_text(payload: &[u8]) -> Option<String> {
    let attributes = payload.get(HEADER..)?;
    let text =
        NlasIterator::new(attributes).flatten().find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(text.value());
    Some(text.trim_end_matches('\0').to_owned())
}
