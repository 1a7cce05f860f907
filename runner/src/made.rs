//! What a run has made so far that does not go with its processes: recorded before it is made, and
//! taken back last made first.

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::cgroup::{Cgroup, Parent};
use crate::error::{Error, Result};
use crate::gc;
use crate::idmap::UserNamespace;
use crate::image::Config;
use crate::name::{ContainerName, ImageName};
use crate::network::{self, Connected};
use crate::plan::Terms;
use crate::plan::{ImageCommand, RootPlan};
use crate::request::{Base, Run};
use crate::root::{self, PreparedRoot};
use crate::signals::Ending;
use crate::state::{self, Claim, Init, Record, State};

/// What a run has made so far.
#[derive(Debug)]
pub(crate) struct Made {
    claim: Claim,
    record: Record,
    root: Option<PreparedRoot>,
    cgroups: Option<Parent>,
    cgroup: Option<Cgroup>,
    connected: Option<Connected>,
    /// Whether taking the network back has failed.
    disconnected: Result<()>,
}

impl Made {
    /// Takes the name. From here on a crash leaves a record to clear up by.
    pub(crate) fn begin(run: &Run) -> Result<Self> {
        let mut claim =
            State::open()?.claim(run.name.as_ref(), |record| gc::clear(record).map(drop))?;
        let base = match &run.base {
            Base::Directory(path) => path.display().to_string(),
            Base::Image(name) => name.to_string(),
        };
        let mut record = Record::new(claim.name().clone(), &run.process.command, base);
        let cgroups = Parent::find()?;
        record.cgroup = cgroups.as_ref().map(|parent| parent.path(claim.name()));
        record.network = network::intent(&run.net, claim.name());
        record.root = root::intent(&run.base, &run.writes, claim.name());
        claim.write(&record)?;
        Ok(Self {
            claim,
            record,
            root: None,
            cgroups,
            cgroup: None,
            connected: None,
            disconnected: Ok(()),
        })
    }

    pub(crate) fn name(&self) -> &ContainerName {
        self.claim.name()
    }

    /// The root file system, as far as it is made by the runner, and what its image says.
    pub(crate) fn root(
        &mut self,
        run: &Run,
        users: Option<&UserNamespace>,
    ) -> Result<(RootPlan, ImageCommand)> {
        let name = self.claim.name();
        let prepared = root::prepare(run, name, users)?;
        let (plan, image) = (prepared.plan().clone(), image_command(prepared.config()));
        self.record.root = prepared.record();
        self.record.users = match users {
            None => state::UserNamespace::Host,
            Some(users) if users.may_set_groups() => state::UserNamespace::Ranges,
            Some(_) => state::UserNamespace::Single,
        };
        self.root = Some(prepared);
        Ok((plan, image))
    }

    pub(crate) fn limit(&mut self, run: &Run) -> Result<Option<&Cgroup>> {
        self.cgroup = Cgroup::create_in(self.cgroups.as_ref(), self.claim.name(), &run.limits)?;
        self.record.cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        Ok(self.cgroup.as_ref())
    }

    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// On these terms further commands may run in it.
    pub(crate) fn admit(&mut self, terms: Option<Terms>) -> Result<()> {
        self.record.terms = terms;
        self.claim.write(&self.record)
    }

    pub(crate) fn started(&mut self, pid: i32) -> Result<()> {
        self.record.init = Some(Init::now(pid));
        self.claim.write(&self.record)
    }

    pub(crate) fn connect(
        &mut self,
        run: &Run,
        pid: i32,
        in_userns: bool,
        netns: Option<OwnedFd>,
        ending: &Ending,
        watch: Option<network::Watch<'_>>,
    ) -> Result<()> {
        let (name, folder) = (self.claim.name(), self.claim.folder());
        let site = network::Site { name, child: pid, netns, in_userns, folder, ending };
        let connected = network::connect(&run.net, site, watch)?;
        let addresses = connected.addresses().to_vec();
        self.connected = Some(connected);
        if addresses.is_empty() {
            return Ok(());
        }
        self.record.addresses = addresses;
        self.claim.write(&self.record)
    }

    /// A process without which the container is cut off.
    pub(crate) fn helper(&self) -> Option<BorrowedFd<'_>> {
        self.connected.as_ref().and_then(Connected::helper_pidfd)
    }

    /// Takes the network back, once nobody needs it any more.
    pub(crate) fn disconnect(&mut self) {
        if let Some(connected) = self.connected.take() {
            self.disconnected = connected.disconnect();
        }
    }

    /// Takes all of it back, once the container's processes are gone; what it wrote is kept under
    /// this name, if one is given. What fails does not keep the rest from being taken back, and the
    /// record stays for a later try.
    pub(crate) fn take_back(mut self, keep: Option<&ImageName>) -> Vec<Error> {
        self.disconnect();
        let undone = [
            self.disconnected,
            self.cgroup.map_or(Ok(()), Cgroup::remove),
            self.root.map_or(Ok(()), |root| root.finish(keep)),
        ];
        let mut failures: Vec<Error> = undone.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() {
            failures.extend(self.claim.forget().err());
        }
        failures
    }
}

/// What an image says of its command, as the planner takes it.
pub(crate) fn image_command(config: Option<&Config>) -> ImageCommand {
    let Some(config) = config else { return ImageCommand::default() };
    let words = |words: &[String]| words.iter().map(OsString::from).collect();
    ImageCommand {
        entrypoint: words(&config.entrypoint),
        command: words(&config.cmd),
        environment: words(&config.env),
        cwd: config.workdir.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from),
        user: config.user.clone().filter(|user| !user.is_empty()),
    }
}
