//! Capabilities as the command has them after its execve.

mod running;

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Seen};
use running::ground;

isolate!();

const CHOWN: u64 = 1 << 0;
const NET_BIND_SERVICE: u64 = 1 << 10;
/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT.
const USUAL: u64 = 0x405fb;

#[track_caller]
fn ids(ground: &Ground, options: &[&str]) -> Seen {
    ground.runner().probe(options, &ground.minimal().unwrap(), &["ids"]).expect("a run")
}

#[track_caller]
fn expect(seen: &Seen, sets: [u64; 5]) {
    let names = ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"];
    assert_eq!(names.map(|name| seen.capabilities(name)), sets, "{}", seen.text());
}

#[test]
fn roots_are_the_usual_ones_whoever_the_caller_is() {
    let ground = ground();
    for options in [&["-q"][..], &["--users", "single"]] {
        expect(&ids(&ground, options), [USUAL, USUAL, USUAL, 0, 0]);
    }
    let user = ground.user().unwrap();
    let root = ground.minimal().unwrap().owned_by(&user).unwrap();
    let seen = ground.runner_of(&user).probe(&[], &root, &["ids"]).unwrap();
    expect(&seen, [USUAL, USUAL, USUAL, 0, 0]);
}

#[test]
fn another_user_has_what_is_named_and_keeps_it() {
    let ground = ground();
    expect(&ids(&ground, &["-u", "77"]), [0; 5]);
    let one = ids(&ground, &["-u", "77", "--cap-add", "net_bind_service"]);
    expect(&one, [NET_BIND_SERVICE; 5]);
}

#[test]
fn another_user_can_gain_only_within_the_bounding_set() {
    let ground = ground();
    let options = ["-u", "77", "--new-privileges", "--cap-drop", "chown"];
    expect(&ids(&ground, &options), [USUAL & !CHOWN, 0, 0, 0, 0]);
}

#[test]
fn all_is_all_that_the_namespace_has() {
    let ground = ground();
    let seen = ids(&ground, &["--users", "single", "--cap-add", "all"]);
    let all = (1 << 41) - 1;
    expect(&seen, [all, all, all, 0, 0]);
}
