//! Who gives out addresses: the plugin that the `ipam` object names. Our own types run in this
//! process; any other is found in `CNI_PATH` and executed with the full protocol.

pub mod host_local;
pub mod static_;

mod asked;
mod delegate;
pub mod per_family;
mod provider;
mod routes;

#[cfg(test)]
mod tests;

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::Made;
use crate::cni::verb::Verb;

use provider::Provider;

/// Whether the configuration names an IPAM plugin. One that cannot be read does, so that the
/// mistake comes to light.
pub fn configured(call: &Call) -> bool {
    provider::name(call).map_or(true, |name| !name.is_empty())
}

/// Takes addresses for an attachment. The result has no interfaces. After a failure nothing stays
/// taken.
pub fn add(call: &Call) -> Result<Made, Failure> {
    let provider = Provider::of(call)?;
    let made = add_by(&provider, call).and_then(with_address);
    if made.is_err() && given_back_by_caller(&provider) {
        // What was taken before it failed. That this fails as well is no news.
        drop(del_by(&provider, call));
    }
    made
}

/// Gives them back. That there are none is success.
pub fn del(call: &Call) -> Result<(), Failure> {
    del_by(&Provider::of(call)?, call)
}

/// Whether the attachment still has its addresses.
pub fn check(call: &Call) -> Result<(), Failure> {
    match Provider::of(call)? {
        Provider::HostLocal => host_local::check(call),
        Provider::Static => static_::check(call),
        Provider::Foreign(program) => delegate::run(&program, Verb::Check, call).map(drop),
    }
}

/// Whether an ADD could get an address.
pub fn status(call: &Call) -> Result<(), Failure> {
    match Provider::of(call)? {
        Provider::HostLocal => host_local::status(call),
        Provider::Static => static_::status(call),
        Provider::Foreign(program) => delegate::run(&program, Verb::Status, call).map(drop),
    }
}

/// Frees the addresses of every attachment of the network that is not valid any more.
pub fn gc(call: &Call) -> Result<(), Failure> {
    match Provider::of(call)? {
        Provider::HostLocal => host_local::gc(call),
        Provider::Static => static_::gc(call),
        Provider::Foreign(program) => delegate::run(&program, Verb::Gc, call).map(drop),
    }
}

fn add_by(provider: &Provider, call: &Call) -> Result<Made, Failure> {
    match provider {
        Provider::HostLocal => host_local::add(call),
        Provider::Static => static_::add(call),
        Provider::Foreign(program) => {
            let answer = delegate::run(program, Verb::Add, call)?;
            Made::from_delegate(&answer, call.conf.version)
        }
    }
}

fn del_by(provider: &Provider, call: &Call) -> Result<(), Failure> {
    match provider {
        Provider::HostLocal => host_local::del(call),
        Provider::Static => static_::del(call),
        Provider::Foreign(program) => delegate::run(program, Verb::Del, call).map(drop),
    }
}

/// Ours take all or nothing. What is more, an ADD that is refused since the attachment has its
/// addresses already must not take them from it.
fn given_back_by_caller(provider: &Provider) -> bool {
    matches!(provider, Provider::Foreign(_))
}

fn with_address(made: Made) -> Result<Made, Failure> {
    match made.ips.is_empty() {
        true => Err(Failure::config("IPAM plugin returned missing IP config")
            .details("the plugin that ipam.type names has given no address")),
        false => Ok(made),
    }
}
