//! Type `host-local` as a plugin of its own, which a foreign plugin delegates to.

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::ipam::host_local;
use crate::cni::result::Made;
use crate::cni::types::Type;

/// The type.
#[derive(Debug)]
pub struct HostLocal;

impl Type for HostLocal {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        host_local::add(call)
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        host_local::del(call)
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        host_local::check(call)
    }

    fn status(&self, call: &Call) -> Result<(), Failure> {
        host_local::status(call)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        host_local::gc(call)
    }
}
