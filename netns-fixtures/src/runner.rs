//! Containers in the laboratory: the runner under test, its callers, root file systems for it, and
//! what the host looks like around a run.
//!
//! Invariant: everything is below a tmpfs of the test process's own, so nothing has to be removed.
//! A [`Ground`] is shared by tests that run in parallel; [`Ground::alone`] is for those that look at
//! what all of them would change, such as the mount table.

mod debian;
mod ground;
mod invoked;
mod program;
mod root;
mod seen;
mod user;

pub use debian::{prepare_debian, prepare_debian_or_exit, prepared_debian};
pub use ground::Ground;
pub use invoked::Runner;
pub use program::{nothing, probe};
pub use root::Root;
pub use seen::Seen;
pub use user::{RANGE, RANGE_OF_ROOT, User};
