//! The host's side of every call: its netlink connections and its state, in the calling thread's
//! network namespace.

use std::cell::{Cell, OnceCell};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::ident::AttachmentId;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::rtnl::Rtnl;
use crate::kernel::{link, reclaim};
use crate::outcome::{Attachment, State as Standing};
use crate::plan::{Shared, Step};
use crate::state::{Lock, Phase, Record, State};
use crate::target::Target;

/// How long the kernel may take to remove the links of a namespace that nobody is in any more.
pub const REAPING: Duration = Duration::from_millis(500);

/// Connections to the kernel, and the state folder of this namespace.
pub struct Host {
    /// rtnetlink.
    pub rtnl: Rtnl,
    /// nfnetlink, for those who need it: closing it may have to wait for the kernel.
    nft: OnceCell<Nfnetlink>,
    lingers: Cell<bool>,
    deleted: Cell<bool>,
    /// What is remembered.
    pub state: State,
    /// Announces to others that this call relies on what is shared; only of calls that change
    /// something.
    presence: Option<Lock>,
}

impl Host {
    /// Connects in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let (rtnl, cookie) = Rtnl::here()?;
        Ok(Self {
            rtnl,
            nft: OnceCell::new(),
            lingers: Cell::new(false),
            deleted: Cell::new(false),
            state: State::of(cookie)?,
            presence: None,
        })
    }

    /// nfnetlink.
    pub fn nft(&self) -> Result<&Nfnetlink> {
        if let Some(nft) = self.nft.get() {
            return Ok(nft);
        }
        let nft = Nfnetlink::here()?;
        Ok(self.nft.get_or_init(|| nft))
    }

    /// As [`Host::open`], for a call that changes something. Others do not take back meanwhile what
    /// all attachments share.
    pub fn enter() -> Result<Self> {
        let host = Self::open()?;
        let presence = Some(host.state.share_host()?);
        Ok(Self { presence, ..host })
    }

    /// Ends a call that changed something. After a failure the state folder goes if it is empty; a
    /// failure to remove it never hides what the call came to.
    pub fn leave<T>(self, result: Result<T>) -> Result<T> {
        self.close_nft();
        match result {
            Ok(made) => Ok(made),
            Err(cause) => Err(match self.tidy() {
                Ok(()) => cause,
                Err(undo) => cause.with_undo_failures(vec![undo]),
            }),
        }
    }

    /// Ends a call that took something away: the last one out removes the empty state folder.
    pub fn leave_less<T>(self, result: Result<T>) -> Result<T> {
        if result.is_ok() {
            self.tidy()?;
        }
        self.leave(result)
    }

    fn tidy(&self) -> Result<()> {
        self.presence.as_ref().map_or(Ok(()), |presence| self.state.tidy(presence))
    }

    /// Notes that a child holds the netfilter socket and closes it last.
    pub fn nft_lingers(&self) {
        self.lingers.set(true);
    }

    /// Notes that elements were deleted over the netfilter socket.
    pub fn nft_deleted(&self) {
        self.deleted.set(true);
    }

    /// Who closes such a socket after elements were deleted, by whomever, waits for the kernel. A
    /// child does it then, and others see by a lock that the kernel is at it.
    fn close_nft(&self) {
        let (Some(nft), false) = (self.nft.get(), self.lingers.get()) else { return };
        let Some(presence) = &self.presence else { return };
        if self.deleted.get()
            && let Ok(reclaim) = self.state.announce_reclaim()
        {
            reclaim::close_later(&[nft.as_fd(), reclaim.as_fd()]);
        } else if presence.is_reclaiming().unwrap_or(false) {
            reclaim::close_later(&[nft.as_fd()]);
        }
    }

    /// Removes what interrupted calls left in the state folder.
    pub fn sweep(&self) -> Result<()> {
        self.presence.as_ref().map_or(Ok(()), |presence| self.state.sweep(presence))
    }

    /// What others than this attachment rely on, or may be about to.
    pub fn relied_on(&self, id: &AttachmentId) -> Result<Vec<Shared>> {
        let alone = self.presence.as_ref().map_or(Ok(false), Lock::try_upgrade)?;
        if !alone {
            return Ok(Shared::ALL.to_vec());
        }
        let mut relied = Vec::new();
        for other in self.state.attachment_ids()?.iter().filter(|other| *other != id) {
            let Some(record) = self.state.record(other)? else { continue };
            relied.push(Shared::Rules);
            let bridged = record.steps.iter().any(Step::needs_bridge_rules);
            relied.extend(bridged.then_some(Shared::BridgeRules));
            relied
                .extend(record.attachment.addresses.iter().map(|a| Shared::Forwarding(a.family())));
        }
        let others = self.state.extension_ids()?;
        if others.iter().any(|other| other.attachment != *id) {
            relied.push(Shared::Rules);
        }
        Ok(relied)
    }

    /// As [`Host::standing`]. If what the container was called leads nowhere any more, the kernel
    /// is given a moment: it takes a namespace down some time after its last process has ended.
    pub fn settled(&self, record: &Record) -> Result<Standing> {
        let started = Instant::now();
        loop {
            let standing = self.standing(record)?;
            if standing != Standing::Up || started.elapsed() > REAPING || is_reachable(record) {
                return Ok(standing);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How a remembered attachment stands: it is dead once its link is gone.
    pub fn standing(&self, record: &Record) -> Result<Standing> {
        let attachment = &record.attachment;
        let link = link::by_index(&self.rtnl, attachment.host_ifindex)?;
        let ours = link.is_some_and(|link| link.name == attachment.host_ifname.as_str());
        Ok(match (record.phase, ours) {
            (Phase::Intent, _) => Standing::Incomplete,
            (Phase::Complete, true) => Standing::Up,
            (Phase::Complete, false) => Standing::Dead,
        })
    }
}

fn is_reachable(record: &Record) -> bool {
    let Attachment { target, netns_cookie, .. } = &record.attachment;
    Target::open_name(target.clone(), true).is_ok_and(|target| target.cookie() == *netns_cookie)
}
