//! The plugin types: what each verb of each means, in terms of the library.

pub mod bandwidth;
pub mod bridge;
mod chained;
mod connection;
pub mod firewall;
pub mod host_local;
pub mod loopback;
pub mod netup;
pub mod portmap;
pub mod ptp;
pub mod static_;
pub mod tuning;
mod verify;

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::Made;

/// A plugin type. Verbs that a type has nothing to do for succeed.
pub trait Type: Sync {
    /// Connects, or adds to what the chain has made, and tells what there is now.
    fn add(&self, call: &Call) -> Result<Made, Failure>;

    /// Takes back all that belongs to the attachment. What is gone already is success.
    fn del(&self, call: &Call) -> Result<(), Failure>;

    /// Whether the kernel still holds what ADD made.
    fn check(&self, call: &Call) -> Result<(), Failure>;

    /// Whether an ADD could be served now.
    fn status(&self, call: &Call) -> Result<(), Failure> {
        let _ = call;
        Ok(())
    }

    /// Takes back what belongs to attachments of the network that are not valid any more.
    fn gc(&self, call: &Call) -> Result<(), Failure> {
        let _ = call;
        Ok(())
    }
}
