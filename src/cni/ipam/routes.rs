//! `ipam.routes`: routes that go into the result as they are.

use crate::cni::result::Route;

/// The routes; a zero stands for a number that is not given, but in `table` and `scope`.
pub fn without_zeros(mut routes: Vec<Route>) -> Vec<Route> {
    for route in &mut routes {
        for number in [&mut route.mtu, &mut route.advmss, &mut route.priority] {
            *number = number.filter(|n| *n != 0);
        }
    }
    routes
}
