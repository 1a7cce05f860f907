//! Addresses that the runtime or the operator asks for beside the `ipam` object.

use serde::Deserialize;

use crate::cni::Call;
use crate::cni::failure::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ips {
    ips: Vec<String>,
}

/// `runtimeConfig.ips`.
pub fn by_runtime(call: &Call) -> Result<Vec<String>, Failure> {
    call.conf.runtime_config::<Ips>().map(|asked| asked.ips)
}

/// `args.cni.ips`.
pub fn by_operator(call: &Call) -> Result<Vec<String>, Failure> {
    call.conf.cni_args::<Ips>().map(|asked| asked.ips)
}
