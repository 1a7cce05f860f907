//! The host's side of every call: its netlink connections and its state, in the calling thread's
//! network namespace.

use crate::error::Result;
use crate::kernel::link;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::rtnl::Rtnl;
use crate::outcome::State as Standing;
use crate::state::{Phase, Record, State};

/// Connections to the kernel, and the state folder of this namespace.
pub struct Host {
    /// rtnetlink.
    pub rtnl: Rtnl,
    /// nfnetlink.
    pub nft: Nfnetlink,
    /// What is remembered.
    pub state: State,
}

impl Host {
    /// Opens both sockets. Must be called within a tokio runtime with IO enabled.
    pub fn open() -> Result<Self> {
        let (rtnl, cookie) = Rtnl::here()?;
        Ok(Self { rtnl, nft: Nfnetlink::here()?, state: State::of(cookie)? })
    }

    /// How a remembered attachment stands: it is dead once its link is gone.
    pub async fn standing(&self, record: &Record) -> Result<Standing> {
        let attachment = &record.attachment;
        let link = link::by_index(&self.rtnl, attachment.host_ifindex).await?;
        let ours = link.is_some_and(|link| link.name == attachment.host_ifname.as_str());
        Ok(match (record.phase, ours) {
            (Phase::Intent, _) => Standing::Incomplete,
            (Phase::Complete, true) => Standing::Up,
            (Phase::Complete, false) => Standing::Dead,
        })
    }
}
