//! Who has which address: one symbolic link per address, named by it, that points to the
//! attachment. Making a symbolic link is atomic and carries its content, so two processes can
//! never both succeed, and a crash cannot leave a claim without an owner.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::addr::HostAddr;
use crate::error::Result;
use crate::ident::AttachmentId;
use crate::state::{State, absent_ok, failed, in_its_folder, names_in};

/// The result of claiming an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is ours now.
    Taken,
    /// It was ours before.
    Ours,
    /// It belongs to this attachment, as far as the state folder knows.
    Owned(AttachmentId),
}

impl State {
    fn claim_path(&self, ip: IpAddr) -> PathBuf {
        self.path("claims").join(ip.to_string())
    }

    /// Claims an address for an attachment.
    pub fn claim(&self, ip: IpAddr, id: &AttachmentId) -> Result<Claim> {
        let path = self.claim_path(ip);
        loop {
            let taken = in_its_folder("write", &path, || match symlink(id.to_string(), &path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                done => done.map(|()| true),
            })?;
            if taken {
                return Ok(Claim::Taken);
            }
            match self.owner(ip)? {
                Some(owner) if owner == *id => return Ok(Claim::Ours),
                Some(owner) => return Ok(Claim::Owned(owner)),
                // Released between the two calls.
                None => {}
            }
        }
    }

    /// Who has an address.
    pub fn owner(&self, ip: IpAddr) -> Result<Option<AttachmentId>> {
        let path = self.claim_path(ip);
        match fs::read_link(&path) {
            Ok(text) => Ok(parse(&text.to_string_lossy())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, &e)),
        }
    }

    /// Gives an address back. A pool that it belongs to may lease it again, after those that have
    /// been free for longer.
    pub fn release(&self, address: HostAddr, id: &AttachmentId) -> Result<()> {
        if self.owner(address.ip())?.as_ref() != Some(id) {
            return Ok(());
        }
        let path = self.claim_path(address.ip());
        absent_ok(fs::remove_file(&path)).map_err(|e| failed("remove", &path, &e))?;
        self.return_to_pool(address)
    }

    /// Every address that is claimed, with its owner.
    pub fn claims(&self) -> Result<Vec<(IpAddr, AttachmentId)>> {
        let ips = names_in(&self.path("claims"))?;
        let ips = ips.iter().filter_map(|name| name.parse::<IpAddr>().ok());
        let owned = |ip| Ok(self.owner(ip)?.map(|owner| (ip, owner)));
        ips.filter_map(|ip| owned(ip).transpose()).collect()
    }
}

fn parse(text: &str) -> Option<AttachmentId> {
    let (container, ifname) = text.split_once('@')?;
    Some(AttachmentId { container: container.parse().ok()?, ifname: ifname.parse().ok()? })
}
