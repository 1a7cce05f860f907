//! Type `static` as a plugin of its own, which a foreign plugin delegates to.

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::ipam::static_;
use crate::cni::result::Made;
use crate::cni::types::Type;

/// The type.
#[derive(Debug)]
pub struct Static;

impl Type for Static {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        static_::add(call)
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        static_::del(call)
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        static_::check(call)
    }

    fn status(&self, call: &Call) -> Result<(), Failure> {
        static_::status(call)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        static_::gc(call)
    }
}
