//! How many addresses of one family an attachment may have.

use crate::cni::failure::Failure;
use crate::cni::version::Version;

/// Versions before 0.3.0 know one address of each family.
pub fn validate(version: Version, are_ipv4: impl Iterator<Item = bool>) -> Result<(), Failure> {
    let (v4, v6): (Vec<bool>, Vec<bool>) = are_ipv4.partition(|is_ipv4| *is_ipv4);
    match version < Version::V0_3_0 && (v4.len() > 1 || v6.len() > 1) {
        true => Err(Failure::config(format!(
            "CNI version {version} does not support more than 1 address per family"
        ))
        .details("write cniVersion 0.3.0 or later into the configuration")),
        false => Ok(()),
    }
}
