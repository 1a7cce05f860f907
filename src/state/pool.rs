//! Leases: which address of a network is next. Taking one costs the same whatever the pool holds.
//!
//! A pool file holds 64-bit offsets from the network address: the next one never used, how many of
//! the returned ones were used again, and the returned ones in order. So an address comes back as
//! late as possible. The file only suggests; that no address has two owners rests on the claims.
//! If a crash loses an entry, it is found again when the pool runs dry.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::addr::{HostAddr, Prefix};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::AttachmentId;
use crate::state::{Claim, State, failed};

/// Bytes of one entry.
const ENTRY: u64 = 8;
/// The entries before the returned offsets: next unused, and returned ones used again.
const HEAD: u64 = 2;
/// From so many used entries on, the file is rewritten without them.
const COMPACT: u64 = 512;

impl State {
    /// Leases a free address of the network to an attachment. `reserved` are never given out.
    pub fn lease(
        &self,
        prefix: Prefix,
        id: &AttachmentId,
        reserved: &[IpAddr],
    ) -> Result<HostAddr> {
        let _lock = self.lock_pool(prefix)?;
        let mut pool = Pool::open(self, prefix)?;
        if let Some(address) = self.take_from(&mut pool, id, reserved)? {
            return Ok(address);
        }
        pool.refill(&self.taken_offsets(prefix)?)?;
        self.take_from(&mut pool, id, reserved)?.ok_or_else(|| exhausted(prefix))
    }

    /// The address that a lease would give now, without taking it.
    pub fn preview_lease(&self, prefix: Prefix, reserved: &[IpAddr]) -> Result<HostAddr> {
        let taken = self.taken_offsets(prefix)?;
        let next = match fs::read(self.pool_path(prefix)) {
            Ok(bytes) => Entries::of(&bytes, prefix),
            Err(_) => Entries::new(prefix),
        };
        let (_, last) = prefix.host_offsets();
        let free = |offset: &u64| !taken.contains(offset);
        let fresh = (next.fresh..=last).take(taken.len() + reserved.len() + 1);
        let (first, _) = prefix.host_offsets();
        let candidates =
            fresh.chain(next.returned).chain((first..=last).take(taken.len() + reserved.len() + 1));
        let usable = |offset: u64| prefix.nth(offset).filter(|ip| !reserved.contains(ip));
        let ip = candidates.filter(free).find_map(usable).ok_or_else(|| exhausted(prefix))?;
        HostAddr::new(ip, prefix).ok_or_else(|| exhausted(prefix))
    }

    fn take_from(
        &self,
        pool: &mut Pool<'_>,
        id: &AttachmentId,
        reserved: &[IpAddr],
    ) -> Result<Option<HostAddr>> {
        while let Some(offset) = pool.next()? {
            let Some(ip) = pool.prefix.nth(offset).filter(|ip| !reserved.contains(ip)) else {
                continue;
            };
            if self.claim(ip, id)? == Claim::Taken {
                return Ok(HostAddr::new(ip, pool.prefix));
            }
        }
        Ok(None)
    }

    /// Puts an address at the end of its pool, if there is one.
    pub(super) fn return_to_pool(&self, address: HostAddr) -> Result<()> {
        let prefix = address.prefix();
        let path = self.pool_path(prefix);
        let (true, Some(offset)) = (path.exists(), prefix.offset_of(address.ip())) else {
            return Ok(());
        };
        let _lock = self.lock_pool(prefix)?;
        Pool::open(self, prefix)?.push(offset)
    }

    fn pool_path(&self, prefix: Prefix) -> PathBuf {
        self.path("pools").join(prefix.to_string().replace('/', "_"))
    }

    fn taken_offsets(&self, prefix: Prefix) -> Result<HashSet<u64>> {
        Ok(self.claims()?.into_iter().filter_map(|(ip, _)| prefix.offset_of(ip)).collect())
    }
}

fn exhausted(prefix: Prefix) -> Error {
    Error::new(ErrorKind::PoolExhausted, format!("no address of {prefix} is free"))
        .hint("take attachments down, or use a larger network; netup ls shows who has which")
}

/// A pool file as a whole.
struct Entries {
    fresh: u64,
    returned: Vec<u64>,
}

impl Entries {
    fn new(prefix: Prefix) -> Self {
        Self { fresh: prefix.host_offsets().0, returned: Vec::new() }
    }

    fn of(bytes: &[u8], prefix: Prefix) -> Self {
        let (entries, _) = bytes.as_chunks::<8>();
        let mut entries = entries.iter().copied().map(u64::from_le_bytes);
        match (entries.next(), entries.next()) {
            (Some(fresh), Some(used)) => {
                let used = usize::try_from(used).unwrap_or(usize::MAX);
                Self { fresh, returned: entries.skip(used).collect() }
            }
            _ => Self::new(prefix),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let head = [self.fresh, 0].into_iter();
        head.chain(self.returned.iter().copied()).flat_map(u64::to_le_bytes).collect()
    }
}

/// A pool file, open and locked.
struct Pool<'a> {
    state: &'a State,
    path: PathBuf,
    file: File,
    prefix: Prefix,
}

impl<'a> Pool<'a> {
    fn open(state: &'a State, prefix: Prefix) -> Result<Self> {
        let path = state.pool_path(prefix);
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
        };
        let file = open().map_err(|e| failed("open", &path, &e))?;
        let pool = Self { state, path, file, prefix };
        // Empty, or cut short by a full disk: begin anew. The claims keep what is taken.
        match pool.length()? < HEAD {
            true => pool.rewrite(&Entries::new(prefix)),
            false => Ok(pool),
        }
    }

    /// The next candidate, which is then used up.
    fn next(&mut self) -> Result<Option<u64>> {
        let (fresh, used) = (self.entry(0)?, self.entry(1)?);
        let (first, last) = self.prefix.host_offsets();
        if (first..=last).contains(&fresh) {
            self.set(0, fresh.saturating_add(1))?;
            return Ok(Some(fresh));
        }
        if HEAD + used >= self.length()? {
            return Ok(None);
        }
        let offset = self.entry(HEAD + used)?;
        self.set(1, used + 1)?;
        if used + 1 >= COMPACT {
            self.compact()?;
        }
        Ok(Some(offset))
    }

    fn push(&self, offset: u64) -> Result<()> {
        self.set(self.length()?, offset)
    }

    /// Puts every offset that is not taken into the queue again.
    fn refill(&mut self, taken: &HashSet<u64>) -> Result<()> {
        let (first, last) = self.prefix.host_offsets();
        let returned = (first..=last).filter(|offset| !taken.contains(offset)).collect();
        self.replace(&Entries { fresh: last.saturating_add(1), returned })
    }

    fn compact(&mut self) -> Result<()> {
        let bytes = fs::read(&self.path).map_err(|e| failed("read", &self.path, &e))?;
        self.replace(&Entries::of(&bytes, self.prefix))
    }

    fn replace(&mut self, entries: &Entries) -> Result<()> {
        self.state.write_whole(&self.path, &entries.bytes())?;
        self.file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|e| failed("open", &self.path, &e))?;
        Ok(())
    }

    fn rewrite(mut self, entries: &Entries) -> Result<Self> {
        self.replace(entries)?;
        Ok(self)
    }

    fn length(&self) -> Result<u64> {
        let length = self.file.metadata().map_err(|e| failed("read", &self.path, &e))?.len();
        Ok(length / ENTRY)
    }

    fn entry(&self, index: u64) -> Result<u64> {
        let mut bytes = [0; ENTRY as usize];
        let read: io::Result<()> = self.file.read_exact_at(&mut bytes, index * ENTRY);
        read.map_err(|e| failed("read", &self.path, &e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set(&self, index: u64, value: u64) -> Result<()> {
        self.file
            .write_all_at(&value.to_le_bytes(), index * ENTRY)
            .map_err(|e| failed("write", &self.path, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::scratch;

    fn id(name: &str) -> AttachmentId {
        AttachmentId { container: name.parse().unwrap(), ifname: "eth0".parse().unwrap() }
    }

    #[test]
    fn every_address_once_then_the_longest_free_first() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "10.0.0.0/29".parse().unwrap();
        let gateway = ["10.0.0.1".parse().unwrap()];
        let lease =
            |name: &str| state.lease(prefix, &id(name), &gateway).map(|a| a.ip().to_string());
        assert_eq!(state.preview_lease(prefix, &gateway).unwrap().to_string(), "10.0.0.2/29");
        for n in 2..=6 {
            assert_eq!(lease(&format!("c{n}")).unwrap(), format!("10.0.0.{n}"));
        }
        assert_eq!(lease("late").unwrap_err().kind(), ErrorKind::PoolExhausted);
        for n in [5, 3] {
            state
                .release(format!("10.0.0.{n}/29").parse().unwrap(), &id(&format!("c{n}")))
                .unwrap();
        }
        assert_eq!(state.preview_lease(prefix, &gateway).unwrap().to_string(), "10.0.0.5/29");
        assert_eq!(lease("d").unwrap(), "10.0.0.5");
        assert_eq!(lease("e").unwrap(), "10.0.0.3");
        assert!(lease("f").is_err());
    }

    #[test]
    fn an_entry_that_a_crash_lost_is_found_again() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "10.0.0.0/30".parse().unwrap();
        state.lease(prefix, &id("a"), &[]).unwrap();
        state.lease(prefix, &id("b"), &[]).unwrap();
        fs::remove_file(state.claim_path_for_test("10.0.0.2".parse().unwrap())).unwrap();
        assert_eq!(state.lease(prefix, &id("c"), &[]).unwrap().to_string(), "10.0.0.2/30");
    }

    #[test]
    fn a_damaged_pool_gives_no_address_twice() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "fd00::/64".parse().unwrap();
        let first = state.lease(prefix, &id("a"), &[]).unwrap();
        fs::write(state.pool_path(prefix), b"junk").unwrap();
        let second = state.lease(prefix, &id("b"), &[]).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn long_use_does_not_grow_the_file() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "10.0.0.0/30".parse().unwrap();
        for _ in 0..2000 {
            let address = state.lease(prefix, &id("a"), &[]).unwrap();
            state.release(address, &id("a")).unwrap();
        }
        assert!(fs::metadata(state.pool_path(prefix)).unwrap().len() < 3 * COMPACT * ENTRY);
    }

    impl State {
        fn claim_path_for_test(&self, ip: IpAddr) -> PathBuf {
            self.path("claims").join(ip.to_string())
        }
    }
}
