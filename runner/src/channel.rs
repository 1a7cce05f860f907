//! What the runner and the container's first process say to each other while the container is made.
//!
//! A socket pair of whole messages. Its end says something too: to the runner, that the command has
//! been started; to the container, that the runner is gone.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};

use crate::error::{Error, ErrorKind, Result};

/// The longest message; an error's text beyond it is cut.
const LONGEST: usize = 4096;

/// `SCM_MAX_FD`, unix(7).
const MOST_MOUNTS: usize = 253;

/// What the container says.
#[derive(Debug)]
pub enum Report {
    /// All is made; the network is waited for.
    Ready,
    /// The runner's end of the container's terminal.
    Terminal(OwnedFd),
    /// A pidfd of the command's process.
    Command(OwnedFd),
    /// It cannot be made, or the command not be started.
    Failed(Error),
    /// The command is about to be executed.
    Executing,
    /// Nothing more comes: the command is executed, or everybody who could say something is gone.
    Ended,
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A pair of ends: the runner's, and the container's.
///
/// # Errors
/// What socketpair(2) says.
pub fn pair() -> Result<(Channel, Channel)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)
        .map_err(|errno| Error::kernel("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))?;
    Ok((Channel(ours), Channel(theirs)))
}

const GO: &[u8] = b"g";
const READY: u8 = b'r';
const TERMINAL: u8 = b't';
const NETWORK: u8 = b'n';
const COMMAND: u8 = b'c';
const EXECUTING: u8 = b'x';
const FAILED: u8 = b'f';

impl Channel {
    /// The same under another number, closed when a program is executed.
    ///
    /// # Errors
    /// What dup3(2) says.
    pub fn put_at(self, number: i32) -> Result<Self, Errno> {
        crate::sys::process::move_to(self.0, number).map(Self)
    }

    /// Lets the container go on from where it waits.
    ///
    /// # Errors
    /// That the container is gone.
    pub fn let_go_on(&self) -> Result<()> {
        self.say(GO).map_err(|errno| Error::kernel("tell the container to go on", errno))
    }

    /// Lets the container go on with these mounts.
    ///
    /// # Errors
    /// That the container is gone, or that they are more than a message takes.
    pub fn hand_over_mounts(&self, mounts: &[BorrowedFd<'_>]) -> Result<()> {
        let failed = |errno| Error::kernel(format!("hand over {} mounts", mounts.len()), errno);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_MOUNTS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(mounts)) {
            return Err(failed(Errno::TOOBIG));
        }
        sendmsg(&self.0, &[IoSlice::new(GO)], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(failed)
    }

    /// Waits until the runner lets us go on with so many mounts.
    ///
    /// # Errors
    /// That the runner is gone, or that they are not that many.
    pub fn wait_for_mounts(&self, count: usize) -> Result<Vec<OwnedFd>> {
        let mut buffer = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_MOUNTS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry(|| {
            let slices = &mut [std::io::IoSliceMut::new(&mut buffer)];
            recvmsg(&self.0, slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let bytes = received.map_err(|errno| Error::kernel("wait for mounts", errno))?.bytes;
        let mounts = descriptors_in(&mut control);
        match (bytes, mounts.len()) {
            (0, _) => Err(runner_ended()),
            (_, got) if got == count => Ok(mounts),
            // The kernel leaves out what is too many for RLIMIT_NOFILE.
            (_, got) => {
                let message = format!("of {count} mounts the container's first process got {got}");
                Err(Error::new(ErrorKind::Kernel, message).hint("raise the limit of ulimit -n"))
            }
        }
    }

    /// Waits until the runner lets us go on.
    ///
    /// # Errors
    /// That the runner is gone.
    pub fn wait_to_go_on(&self) -> Result<()> {
        let mut buffer = [0; 8];
        match self.receive(&mut buffer) {
            Ok((1, _)) => Ok(()),
            Ok(_) => Err(runner_ended()),
            Err(errno) => Err(Error::kernel("wait for the runner", errno)),
        }
    }

    /// Hands the container its network namespace.
    ///
    /// # Errors
    /// That the container is gone.
    pub fn hand_over_network(&self, netns: BorrowedFd<'_>) -> Result<()> {
        self.hand_over(NETWORK, netns)
            .map_err(|errno| Error::kernel("hand the container its network namespace", errno))
    }

    /// Waits until the runner hands over the network namespace.
    ///
    /// # Errors
    /// That the runner is gone.
    pub fn wait_for_network(&self) -> Result<OwnedFd> {
        let mut buffer = [0; 8];
        match self.receive(&mut buffer) {
            Ok((1, Some(netns))) => Ok(netns),
            Ok(_) => Err(runner_ended()),
            Err(errno) => Err(Error::kernel("wait for the network namespace", errno)),
        }
    }

    /// Whether the runner is still there.
    ///
    /// # Errors
    /// That it is gone.
    pub fn expect_runner(&self) -> Result<()> {
        let mut ends = [PollFd::new(&self.0, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match retry(|| poll(&mut ends, Some(&at_once))) {
            Ok(0) => Ok(()),
            Ok(_) => Err(runner_ended()),
            Err(errno) => Err(Error::kernel("look after the runner", errno)),
        }
    }

    /// Says that all is made.
    ///
    /// # Errors
    /// That the runner is gone.
    pub fn ready(&self) -> Result<()> {
        self.say(&[READY]).map_err(|errno| Error::kernel("tell the runner", errno))
    }

    /// Says that the command is about to be executed.
    ///
    /// # Errors
    /// That the runner is gone.
    pub fn executing(&self) -> Result<()> {
        self.say(&[EXECUTING]).map_err(|errno| Error::kernel("tell the runner", errno))
    }

    /// Hands over the terminal.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub fn hand_over_terminal(&self, master: BorrowedFd<'_>) -> Result<()> {
        self.hand_over(TERMINAL, master)
            .map_err(|errno| Error::kernel("hand the terminal to the runner", errno))
    }

    /// Hands over a pidfd of the command's process.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub fn hand_over_command(&self, process: BorrowedFd<'_>) -> Result<()> {
        self.hand_over(COMMAND, process).map_err(|errno| Error::kernel("tell the runner", errno))
    }

    fn hand_over(&self, what: u8, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[IoSlice::new(&[what])], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// Says why it failed. If the runner cannot be told, nobody can.
    pub fn failed(&self, error: &Error) {
        let mut message = vec![FAILED];
        message.extend(error.encode());
        message.truncate(LONGEST);
        self.say(&message).ok();
    }

    /// The container's next report.
    ///
    /// # Errors
    /// What recvmsg(2) says, or that the message makes no sense.
    pub fn report(&self) -> Result<Report> {
        let mut buffer = [0; LONGEST];
        let (length, descriptor) = self
            .receive(&mut buffer)
            .map_err(|errno| Error::kernel("listen to the container", errno))?;
        understand(&buffer[..length], descriptor)
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut receive = || {
            let slices = &mut [std::io::IoSliceMut::new(buffer)];
            retry(|| recvmsg(&self.0, slices, &mut control, RecvFlags::CMSG_CLOEXEC))
        };
        let received = match receive() {
            // It ended and left unread what we said: told once, and before all that it has said.
            Err(Errno::CONNRESET) => receive(),
            received => received,
        }?;
        Ok((received.bytes, descriptors_in(&mut control).into_iter().next()))
    }

    fn say(&self, message: &[u8]) -> Result<(), Errno> {
        retry(|| send(&self.0, message, SendFlags::NOSIGNAL)).map(drop)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn runner_ended() -> Error {
    Error::new(ErrorKind::Kernel, "the runner ended")
}

fn retry<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(call)
}

fn descriptors_in(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let of = |message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    };
    control.drain().filter_map(of).flatten().collect()
}

fn understand(message: &[u8], descriptor: Option<OwnedFd>) -> Result<Report> {
    match (message, descriptor) {
        ([], _) => Some(Report::Ended),
        ([READY], None) => Some(Report::Ready),
        ([EXECUTING], None) => Some(Report::Executing),
        ([TERMINAL], Some(master)) => Some(Report::Terminal(master)),
        ([COMMAND], Some(process)) => Some(Report::Command(process)),
        ([FAILED, error @ ..], None) => Error::decode(error).map(Report::Failed),
        _ => None,
    }
    .ok_or_else(|| Error::new(ErrorKind::Kernel, "the container sent a message without sense"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2021-43784: nothing that the container's side sends leads anywhere else.
    #[test]
    fn any_message_is_understood_or_refused() {
        // Marsaglia's xorshift: always the same, and of all kinds.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let error = Error::kernel("mount", Errno::PERM).hint("why").encode();
        let mut understood = 0;
        for round in 0..20_000_usize {
            let mut message: Vec<u8> = match round % 3 {
                0 => (0..next() % 300).map(|_| next() as u8).collect(),
                _ => [&[FAILED], error.as_slice()].concat(),
            };
            for _ in 0..next() % 4 {
                let at = next() as usize % message.len().max(1);
                match message.get_mut(at) {
                    Some(byte) => *byte = next() as u8,
                    None => message.push(next() as u8),
                }
            }
            message.truncate(next() as usize % (message.len() + 1));
            understood += usize::from(understand(&message, None).is_ok());
        }
        assert!(understood > 100 && understood < 20_000, "{understood}");
    }

    #[test]
    fn what_failed_is_heard_though_something_was_left_unread() {
        let (ours, theirs) = pair().unwrap();
        ours.let_go_on().unwrap();
        theirs.failed(&Error::invalid("why"));
        drop(theirs);
        assert!(matches!(ours.report(), Ok(Report::Failed(_))));
        assert!(matches!(ours.report(), Ok(Report::Ended)));
    }

    #[test]
    fn mounts_arrive_as_many_as_were_sent() {
        let (ours, theirs) = pair().unwrap();
        let file = std::fs::File::open("/").unwrap();
        for sent in [1, MOST_MOUNTS] {
            ours.hand_over_mounts(&vec![file.as_fd(); sent]).unwrap();
            assert_eq!(theirs.wait_for_mounts(sent).unwrap().len(), sent);
        }
        ours.hand_over_mounts(&[file.as_fd()]).unwrap();
        assert!(theirs.wait_for_mounts(2).is_err());
        assert!(ours.hand_over_mounts(&vec![file.as_fd(); MOST_MOUNTS + 1]).is_err());
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let (ours, theirs) = pair().unwrap();
        ours.expect_runner().unwrap();
        theirs.ready().unwrap();
        theirs.failed(&Error::invalid("x".repeat(3 * LONGEST)));
        assert!(matches!(ours.report(), Ok(Report::Ready)));
        assert!(matches!(ours.report(), Ok(Report::Failed(_))));
        drop(ours);
        assert_eq!(theirs.expect_runner().unwrap_err().message(), "the runner ended");
    }
}
