//! Stopping a container's processes where they are, and letting them go on.

use std::path::PathBuf;

use crate::cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;
use crate::state::State;

/// Stops every process of a container; on return all have stopped.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) if none of that name runs,
/// [`MissingFeature`](ErrorKind::MissingFeature) if it has no cgroup.
pub fn pause(state: &State, name: &ContainerName) -> Result<()> {
    cgroup::freeze(&cgroup_of(state, name)?)
}

/// Lets them go on.
///
/// # Errors
/// As [`pause`].
pub fn resume(state: &State, name: &ContainerName) -> Result<()> {
    cgroup::thaw(&cgroup_of(state, name)?)
}

/// The cgroup of a container that runs.
pub fn cgroup_of(state: &State, name: &ContainerName) -> Result<PathBuf> {
    state.record(name)?.cgroup.ok_or_else(|| {
        let what = format!("container {name} has no cgroup");
        Error::new(ErrorKind::MissingFeature, what).hint(
            "where cgroup v2 is mounted, start it as root, or by \
             systemd-run --user --scope -p Delegate=yes netup-run …",
        )
    })
}
