//! docs/tutorial.md is so: its commands are typed in order, and say what it says that they say.

mod documents;
mod running;

use std::collections::BTreeSet;

use documents::{Desk, commands};
use netns_fixtures::isolate;
use netns_fixtures::runner::Ground;
use nix::mount::{MsFlags, mount};
use running::alone;

isolate!();

const TUTORIAL: &str = "docs/tutorial.md";
/// As it was when this was compiled: a test covers /tmp, in which the repository may lie.
const TEXT: &str = include_str!("../../docs/tutorial.md");

#[test]
fn the_tutorial_can_be_followed() {
    let ground = alone();
    every_kind_of_call_is_told(&ground);
    let all = commands(TEXT);
    // A reader's files are in /tmp, which is everybody's.
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")).unwrap();
    assert!(all.len() > 80, "{} commands", all.len());
    let mut desk = Desk::new(&ground);
    desk.follow(TUTORIAL, &all);
    // The rules of netup, forwarding and empty stores stay. Nothing else does.
    let runners = [ground.runner(), ground.runner_of(&ground.user().unwrap())];
    let before = runners.each_ref().map(|runner| ground.dump(runner).unwrap());
    desk.follow(TUTORIAL, &all);
    runners
        .iter()
        .zip(&before)
        .for_each(|(runner, before)| ground.expect_unchanged(runner, before));
}

/// Each line of the plan that is not explained word by word has a kin that is.
fn every_kind_of_call_is_told(ground: &Ground) {
    let text = TEXT;
    let root = ground.busybox().unwrap();
    let words = ["run", "-q", "--dry-run", "--net", "10.0.0.2/24", root.path().to_str().unwrap()];
    let words = [&words[..], &["true"]].concat();
    let plan = ground.runner().run(&words).unwrap().success().unwrap();
    let (_, inside) = plan.split_once("# in the container's first process").unwrap();
    let is_call = |line: &&str| line.contains('(');
    let calls: BTreeSet<&str> =
        inside.lines().filter(is_call).filter_map(|line| line.split('(').next()).collect();
    assert!(calls.len() > 12, "{calls:?}");
    for call in calls {
        assert!(text.contains(&format!("{call}(")), "{call} is not told");
    }
}
