//! Leases: which address of a network is next. Taking one costs the same whatever the pool holds.
//!
//! There is a pool for each network and for each range of one that was ever leased from. They may
//! overlap, in which case an address that one gives out is passed over by the others.
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
use crate::request::LeaseRange;
use crate::state::{Claim, State, failed, in_its_folder, names_in};

/// Bytes of one entry.
const ENTRY: u64 = 8;
/// The entries before the returned offsets: next unused, and returned ones used again.
const HEAD: u64 = 2;
/// From so many used entries on, the file is rewritten without them.
const COMPACT: u64 = 512;

/// The addresses that a pool leases: all hosts of a network, or a range of them. As offsets from
/// the network address, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    prefix: Prefix,
    first: u64,
    last: u64,
    range: Option<LeaseRange>,
}

impl From<Prefix> for Span {
    fn from(prefix: Prefix) -> Self {
        let (first, last) = prefix.host_offsets();
        Self { prefix, first, last, range: None }
    }
}

impl From<LeaseRange> for Span {
    fn from(range: LeaseRange) -> Self {
        // A range is validated before it comes here; one that is not holds nothing.
        let first = range.prefix.offset_of(range.first).unwrap_or(1);
        let last = range.prefix.offset_of(range.last).unwrap_or(0);
        Self { prefix: range.prefix, first, last, range: Some(range) }
    }
}

impl Span {
    fn exhausted(&self) -> Error {
        let what = match self.range {
            Some(range) => format!("no address of {range} in {} is free", self.prefix),
            None => format!("no address of {} is free", self.prefix),
        };
        Error::new(ErrorKind::PoolExhausted, what)
            .hint("take attachments down, or use a larger network; netup ls shows who has which")
    }
}

impl State {
    /// Leases a free address of a network or range to an attachment. `reserved` are never given out.
    pub fn lease(
        &self,
        span: impl Into<Span>,
        id: &AttachmentId,
        reserved: &[IpAddr],
    ) -> Result<HostAddr> {
        let span = span.into();
        let _lock = self.lock_pool(span.prefix)?;
        let mut pool = Pool::open(self, span)?;
        if let Some(address) = self.take_from(&mut pool, id, reserved)? {
            return Ok(address);
        }
        pool.refill(&self.taken_offsets(span.prefix)?)?;
        self.take_from(&mut pool, id, reserved)?.ok_or_else(|| span.exhausted())
    }

    /// The address that a lease would give now, without taking it.
    pub fn preview_lease(&self, span: impl Into<Span>, reserved: &[IpAddr]) -> Result<HostAddr> {
        let span = span.into();
        let Span { prefix, first, last, .. } = span;
        let taken = self.taken_offsets(prefix)?;
        let next = match fs::read(self.pool_path(&span)) {
            Ok(bytes) => Entries::of(&bytes, &span),
            Err(_) => Entries::new(&span),
        };
        let free = |offset: &u64| !taken.contains(offset);
        let enough = taken.len() + reserved.len() + 1;
        let fresh = (next.fresh..=last).take(enough);
        let candidates = fresh.chain(next.returned).chain((first..=last).take(enough));
        let usable = |offset: u64| prefix.nth(offset).filter(|ip| !reserved.contains(ip));
        let ip = candidates.filter(free).find_map(usable).ok_or_else(|| span.exhausted())?;
        HostAddr::new(ip, prefix).ok_or_else(|| span.exhausted())
    }

    fn take_from(
        &self,
        pool: &mut Pool<'_>,
        id: &AttachmentId,
        reserved: &[IpAddr],
    ) -> Result<Option<HostAddr>> {
        while let Some(offset) = pool.next()? {
            let Some(ip) = pool.span.prefix.nth(offset).filter(|ip| !reserved.contains(ip)) else {
                continue;
            };
            if self.claim(ip, id)? == Claim::Taken {
                return Ok(HostAddr::new(ip, pool.span.prefix));
            }
        }
        Ok(None)
    }

    /// Puts an address at the end of each pool that it belongs to.
    pub(super) fn return_to_pool(&self, address: HostAddr) -> Result<()> {
        let prefix = address.prefix();
        let Some(offset) = prefix.offset_of(address.ip()) else { return Ok(()) };
        let whole = Span::from(prefix);
        let mut pools: Vec<Span> =
            self.pool_path(&whole).exists().then_some(whole).into_iter().collect();
        let ranges = self.ranges(prefix)?.into_iter().filter(|range| range.contains(address.ip()));
        pools.extend(ranges.map(Span::from));
        if pools.is_empty() {
            return Ok(());
        }
        let _lock = self.lock_pool(prefix)?;
        pools.into_iter().try_for_each(|span| Pool::open(self, span)?.push(offset))
    }

    /// The ranges of a network that were leased from: as many as configurations name, however many
    /// attachments there are.
    fn ranges(&self, prefix: Prefix) -> Result<Vec<LeaseRange>> {
        let range = |name: &String| {
            let (first, last) = name.split_once('-')?;
            LeaseRange::new(prefix, first.parse().ok()?, last.parse().ok()?).ok()
        };
        Ok(names_in(&self.ranges_path(prefix))?.iter().filter_map(range).collect())
    }

    fn pool_path(&self, span: &Span) -> PathBuf {
        match span.range {
            Some(range) => self.ranges_path(span.prefix).join(range.to_string()),
            None => self.path("pools").join(file_name(span.prefix)),
        }
    }

    fn ranges_path(&self, prefix: Prefix) -> PathBuf {
        self.path("pools").join(format!("{}.ranges", file_name(prefix)))
    }

    fn taken_offsets(&self, prefix: Prefix) -> Result<HashSet<u64>> {
        Ok(self.claims()?.into_iter().filter_map(|(ip, _)| prefix.offset_of(ip)).collect())
    }
}

fn file_name(prefix: Prefix) -> String {
    prefix.to_string().replace('/', "_")
}

/// A pool file as a whole.
struct Entries {
    fresh: u64,
    returned: Vec<u64>,
}

impl Entries {
    fn new(span: &Span) -> Self {
        Self { fresh: span.first, returned: Vec::new() }
    }

    fn of(bytes: &[u8], span: &Span) -> Self {
        let (entries, _) = bytes.as_chunks::<8>();
        let mut entries = entries.iter().copied().map(u64::from_le_bytes);
        match (entries.next(), entries.next()) {
            (Some(fresh), Some(used)) => {
                let used = usize::try_from(used).unwrap_or(usize::MAX);
                Self { fresh, returned: entries.skip(used).collect() }
            }
            _ => Self::new(span),
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
    span: Span,
}

impl<'a> Pool<'a> {
    fn open(state: &'a State, span: Span) -> Result<Self> {
        let path = state.pool_path(&span);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = in_its_folder("open", &path, || options.open(&path))?;
        let pool = Self { state, path, file, span };
        // Empty, or cut short by a full disk: begin anew. The claims keep what is taken.
        match pool.length()? < HEAD {
            true => pool.rewrite(&Entries::new(&span)),
            false => Ok(pool),
        }
    }

    /// The next candidate, which is then used up.
    fn next(&mut self) -> Result<Option<u64>> {
        let (fresh, used) = (self.entry(0)?, self.entry(1)?);
        let Span { first, last, .. } = self.span;
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

    /// One that is yet to come for the first time is not queued as well. Others may be in the queue
    /// more than once, if they were given out by name or by another pool: each time the queue has
    /// doubled it is cleared of that.
    fn push(&mut self, offset: u64) -> Result<()> {
        let Span { first, last, .. } = self.span;
        let fresh = self.entry(0)?;
        if (first..=last).contains(&fresh) && offset >= fresh {
            return Ok(());
        }
        let length = self.length()?;
        self.set(length, offset)?;
        match length >= COMPACT && length.is_power_of_two() {
            true => self.compact(),
            false => Ok(()),
        }
    }

    /// Puts every offset that is not taken into the queue again.
    fn refill(&mut self, taken: &HashSet<u64>) -> Result<()> {
        let Span { first, last, .. } = self.span;
        let returned = (first..=last).filter(|offset| !taken.contains(offset)).collect();
        self.replace(&Entries { fresh: last.saturating_add(1), returned })
    }

    fn compact(&mut self) -> Result<()> {
        let bytes = fs::read(&self.path).map_err(|e| failed("read", &self.path, &e))?;
        let mut entries = Entries::of(&bytes, &self.span);
        let mut seen = HashSet::new();
        entries.returned.retain(|offset| seen.insert(*offset));
        self.replace(&entries)
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
        fs::write(state.pool_path(&prefix.into()), b"junk").unwrap();
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
        assert!(fs::metadata(state.pool_path(&prefix.into())).unwrap().len() < 3 * COMPACT * ENTRY);
    }

    #[test]
    fn ranges_and_the_network_they_lie_in_share_no_address() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "10.0.0.0/29".parse().unwrap();
        let range =
            LeaseRange::new(prefix, "10.0.0.2".parse().unwrap(), "10.0.0.4".parse().unwrap())
                .unwrap();
        assert_eq!(state.preview_lease(range, &[]).unwrap().to_string(), "10.0.0.2/29");
        let low = state.lease(range, &id("a"), &[]).unwrap();
        assert_eq!(low.to_string(), "10.0.0.2/29");
        let all: Vec<String> = (0..5)
            .map(|n| state.lease(prefix, &id(&format!("w{n}")), &[]).unwrap().ip().to_string())
            .collect();
        assert_eq!(all, ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        let error = state.lease(range, &id("b"), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PoolExhausted);
        assert!(error.to_string().contains("10.0.0.2-10.0.0.4"), "{error}");
        state.release(low, &id("a")).unwrap();
        assert_eq!(state.lease(range, &id("b"), &[]).unwrap(), low);
    }

    #[test]
    fn an_address_that_is_asked_for_by_name_again_and_again_does_not_grow_the_file() {
        let (state, _folder) = scratch();
        let prefix: Prefix = "10.0.0.0/24".parse().unwrap();
        let first = state.lease(prefix, &id("a"), &[]).unwrap();
        for _ in 0..3000 {
            state.release(first, &id("a")).unwrap();
            state.claim(first.ip(), &id("a")).unwrap();
        }
        assert!(fs::metadata(state.pool_path(&prefix.into())).unwrap().len() < 3 * COMPACT * ENTRY);
    }

    impl State {
        fn claim_path_for_test(&self, ip: IpAddr) -> PathBuf {
            self.path("claims").join(ip.to_string())
        }
    }
}
