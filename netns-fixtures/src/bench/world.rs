//! The host that a contender works on.

use netns_fixtures::{Container, Lab, Node};
use std::io;

/// More containers than this are used again in turn.
const POOL: usize = 40;

/// A host with an uplink to an outside host, and containers that wait to be connected.
#[derive(Debug)]
pub struct World {
    pub outside: Node,
    pub host: Node,
    /// Holds whatever comes and goes with a host's first and last container, such as a bridge.
    pub resident: Container,
    /// For the call that is not timed.
    pub spare: Container,
    fresh: Vec<Container>,
}

impl World {
    /// All contenders' worlds are alike. Containers live until the laboratory ends, since the
    /// kernel takes a namespace apart in the background, and that would run into the measurements.
    pub fn new(lab: &Lab, name: &str, rounds: usize) -> io::Result<Self> {
        let host = lab.host(name)?;
        let outside = lab.host(&format!("{name}-outside"))?;
        lab.internet(&outside, &host)?;
        let fresh =
            (0..rounds.min(POOL)).map(|_| lab.container("web")).collect::<io::Result<_>>()?;
        let (resident, spare) = (lab.container("resident")?, lab.container("web")?);
        Ok(Self { outside, host, resident, spare, fresh })
    }

    /// A container that nobody has touched, as long as there are such.
    pub fn container(&self, round: usize) -> &Container {
        &self.fresh[round % self.fresh.len()]
    }
}
