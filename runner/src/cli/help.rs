//! What `--help` says.

/// Of the program.
pub const HELP: &str = "\
Runs a command in a container, and leaves nothing behind.

Usage: netup-run run [OPTIONS] ROOTFS|IMAGE [--] COMMAND…
       netup-run [OPTIONS] ROOTFS|IMAGE COMMAND…            the same, for short
       netup-run exec [OPTIONS] NAME COMMAND…               in a running container
       netup-run ps [NAME] [--json]                         what runs, with both PIDs
       netup-run stats NAME [--json]                        what it uses
       netup-run pause NAME | resume NAME
       netup-run image import NAME [FILE|FOLDER] | ls | rm NAME…
       netup-run gc                                         clears up after a crash

A base with a slash in it is a directory that holds a root file system, anything
else an image of the store. `netup-run run --help` tells the options.

Exit status of run and exec: the command's own, 128+N if signal N ended it,
125 the container could not be made, 126 the command cannot be executed,
127 there is no such command.
";

/// Of `run`.
pub const RUN: &str = "\
Usage: netup-run run [OPTIONS] ROOTFS|IMAGE [--] COMMAND…

Files
  -v, --volume SOURCE:PLACE[:ro]   part of the host's files
      --tmpfs PLACE[:size=64m,mode=1777]
      --read-only                  the root cannot be written
      --writes WHERE               discard (default), memory, disk, or direct: to
                                   the directory itself
      --keep NAME                  the result becomes an image

Command
  -e, --env KEY=VALUE | KEY        KEY alone takes the caller's value
  -w, --workdir PLACE
  -u, --user USER[:GROUP]          names as the image's files have them
  -t, --tty                        a terminal of its own
  -i, --interactive                reads standard input
      --name NAME, --hostname NAME
      --rlimit NAME=SOFT[:HARD]
      --no-init                    the command itself is PID 1

Network
      --net none                   only lo (default)
      --net ADDRESS/PREFIX         a veth pair; repeat for more addresses
      --net pasta | slirp4netns    without root, by a helper
      --net host | netns:PATH      the host's, or one that exists
      --nat                        reach the outside by the host's address
  -p, --publish [HOST:]PORT:PORT[/udp]
      --bridge NAME, --gateway IP, --no-default-route, --mtu N, --dns IP

Users
      --users auto                 without root the ranges of /etc/subuid
      --users ranges|single|host   single: the caller's own id, as root, alone

Limits, by cgroup v2
      --memory 512m, --cpus 0.5, --pids 100

Rights: the default is the strictest, each of these loosens it
      --cap-add NAME|all, --cap-drop NAME|all
      --new-privileges             set-user-ID programs take effect
      --nested-users               namespaces of its own
      --no-seccomp                 any system call
      --unmasked                   all of /proc and /sys

      --explain                    prints the calls as they are made
      --dry-run                    prints them instead
  -q, --quiet                      no warnings
";

/// Of `exec`.
pub const EXEC: &str = "\
Usage: netup-run exec [OPTIONS] NAME COMMAND…

  -e, --env KEY=VALUE | KEY
  -w, --workdir PLACE
  -u, --user USER[:GROUP]
  -t, --tty
  -i, --interactive

The command has the same rights as the container's own.
";

/// Of `image`.
pub const IMAGE: &str = "\
Usage: netup-run image import [OPTIONS] NAME [FILE|FOLDER|-]
       netup-run image ls [--json]
       netup-run image rm NAME…

Takes a root file system as a tar (docker export), a docker-archive (docker
save), an OCI archive or an OCI layout's folder; plain, gzip or zstd.

      --replace          an image of that name gives way
      --devices          device nodes are made, too
      --max-size SIZE    of all files together (default 64g)
      --max-entries N    files, folders and the rest (default 4000000)
      --max-depth N      folders in each other (default 256)
  -q, --quiet            nothing is told
";

/// The help of a verb.
#[must_use]
pub fn topic(verb: &str) -> Option<&'static str> {
    match verb {
        "run" => Some(RUN),
        "exec" => Some(EXEC),
        "image" => Some(IMAGE),
        _ => None,
    }
}
