//! A real distribution: Debian, imported, run by root and by an ordinary user.

mod pty;
mod running;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use netns_fixtures::isolate;
use netns_fixtures::runner::{Ground, Runner, prepared_debian};
use pty::OnTerminal;
use running::{PATIENCE, ground, soon};

isolate!(debian);

/// The distribution as an image called `debian` in the runner's store.
#[track_caller]
fn import(ground: &Ground, runner: &Runner) {
    let tar = ground.folder().join("debian.tar");
    prepared_debian().unwrap().pack(&tar).unwrap();
    let words = ["image", "import", "-q", "debian", tar.to_str().unwrap()];
    runner.run(&words).unwrap().success().unwrap();
    std::fs::remove_file(tar).unwrap();
}

#[track_caller]
fn told(runner: &Runner, words: &[&str]) -> String {
    runner.run(&[&["run", "-q"], words].concat()).unwrap().success().unwrap()
}

/// What is true of it whoever runs it.
#[track_caller]
fn works(runner: &Runner) {
    let version = told(runner, &["debian", "apt-get", "--version"]);
    assert!(version.starts_with("apt "), "{version}");
    let own = told(runner, &["debian", "sh", "-c", "id; cat /etc/os-release; dpkg --audit"]);
    assert!(own.starts_with("uid=0(root) gid=0(root)") && own.contains("ID=debian"), "{own}");
    let owners = told(
        runner,
        &["debian", "stat", "-c", "%U:%G %a", "/etc/shadow", "/usr/bin/passwd", "/tmp"],
    );
    assert_eq!(owners, "root:shadow 640\nroot:root 4755\nroot:root 1777\n");
    let user = told(runner, &["-u", "www-data", "debian", "id", "-un"]);
    assert_eq!(user, "www-data\n");
    let perl = "print join ',', map { -e \"/proc/$_\" ? 1 : 0 } 1, $$";
    assert_eq!(told(runner, &["debian", "perl", "-e", perl]), "1,1");
}

#[test]
fn debian_works_for_root() {
    let ground = ground();
    let runner = ground.runner();
    import(&ground, &runner);
    works(&runner);
}

#[test]
fn debian_works_for_an_ordinary_user() {
    let ground = ground();
    let runner = ground.runner_of(&ground.user().unwrap());
    import(&ground, &runner);
    works(&runner);
}

/// A shell on a terminal, as somebody who types sees it. The quotes in what is typed tell its echo
/// from the answer.
#[track_caller]
fn has_a_shell(runner: &Runner, name: &str) {
    let words = ["run", "-q", "-ti", "--name", name, "-e", r"PS1=\h$ ", "debian", "bash", "--norc"];
    let mut shell = OnTerminal::start(&runner.command(&words).unwrap(), 24, 100);
    shell.await_text(&format!("{name}$ "));
    shell.press("tty; stty size; echo do''ne\n");
    let shown = shell.await_text("done\r\n");
    assert!(shown.contains("/dev/pts/0\r\n24 100\r\n"), "{shown:?}");
    shell.resize(50, 132);
    shell.press("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.01; done; echo re''sized\n");
    shell.await_text("resized\r\n");
    // The job says that it is there, and not the shell, to which the key would go before.
    shell.press("sh -c 'echo be\"\"gun; exec sleep 1000'\n");
    shell.await_text("begun\r\n");
    shell.press("\x03");
    shell.press("echo \"sta\"tus $?\n");
    shell.await_text("status 130\r\n");
    shell.press("exit 7\n");
    assert_eq!(shell.finish().0, Some(7));
}

#[test]
fn a_shell_of_debian_works_on_a_terminal() {
    let ground = ground();
    let runner = ground.runner();
    import(&ground, &runner);
    has_a_shell(&runner, "debian-of-root");
}

#[test]
fn a_shell_of_debian_works_on_a_terminal_without_root() {
    let ground = ground();
    let runner = ground.runner_of(&ground.user().unwrap());
    import(&ground, &runner);
    has_a_shell(&runner, "debian-of-a-user");
}

/// Makes a package whose installation gives a folder to another user, and installs it.
const PACKAGE: &str = r#"
set -e
mkdir -p /tmp/greeter/DEBIAN /tmp/greeter/usr/bin /tmp/greeter/var/lib/greeter
cat >/tmp/greeter/DEBIAN/control <<END
Package: greeter
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: greets
END
printf '#!/bin/sh\nchown www-data:www-data /var/lib/greeter\n' >/tmp/greeter/DEBIAN/postinst
printf '#!/bin/sh\necho greetings\n' >/tmp/greeter/usr/bin/greet
chmod 755 /tmp/greeter/DEBIAN/postinst /tmp/greeter/usr/bin/greet
dpkg-deb --root-owner-group --build /tmp/greeter /tmp/greeter.deb
apt-get install -y /tmp/greeter.deb
"#;

/// A package is installed, and kept as an image.
#[track_caller]
fn installs(runner: &Runner) {
    let said = told(runner, &["--keep", "greeting", "debian", "sh", "-c", PACKAGE]);
    assert!(said.contains("Setting up greeter (1.0)"), "{said}");
    let listed = told(runner, &["greeting", "dpkg", "-l", "greeter", "dpkg"]);
    let installed = listed.lines().filter(|line| line.starts_with("ii ")).count();
    assert_eq!(installed, 2, "{listed}");
    let asks = "greet; stat -c %U:%G /var/lib/greeter /usr/bin/greet";
    let own = told(runner, &["greeting", "sh", "-c", asks]);
    assert_eq!(own, "greetings\nwww-data:www-data\nroot:root\n");
    // The base has none of it.
    let without = runner.run(&["run", "-q", "debian", "greet"]).unwrap();
    assert_eq!(without.code, Some(127), "{without}");
}

#[test]
fn a_package_is_installed_and_kept() {
    let ground = ground();
    let runner = ground.runner();
    import(&ground, &runner);
    installs(&runner);
}

#[test]
fn a_package_is_installed_and_kept_without_root() {
    let ground = ground();
    let runner = ground.runner_of(&ground.user().unwrap());
    import(&ground, &runner);
    installs(&runner);
}

/// A web server that is fetched from outside.
const SERVER: &str = r#"
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die "listen: $!";
$| = 1;
print "listening\n";
while (my $client = $server->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?$/ }
    print $client "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from debian\n";
    close $client;
}
"#;

#[test]
fn a_web_server_in_debian_is_fetched_from_outside() {
    let ground = ground();
    let runner = ground.runner();
    import(&ground, &runner);
    let options = ["run", "-q", "--net", "10.0.0.2/24", "--nat", "-p", "8080:80"];
    let words = [&options[..], &["debian", "perl", "-e", SERVER]].concat();
    let mut serving = runner.start(&words).unwrap();
    serving.await_line("listening", PATIENCE).unwrap();
    let page = fetched(&ground, "198.51.100.2:8080");
    assert!(page.ends_with("hello from debian\n"), "{page}");
}

#[test]
fn a_web_server_in_debian_is_fetched_from_outside_without_root() {
    let ground = ground();
    let runner = ground.runner_of(&ground.user().unwrap());
    import(&ground, &runner);
    let options = ["run", "-q", "--net", "slirp4netns", "-p", "8080:80"];
    let words = [&options[..], &["debian", "perl", "-e", SERVER]].concat();
    let mut serving = runner.start(&words).unwrap();
    serving.await_line("listening", PATIENCE).unwrap();
    let page = fetched(&ground, "198.51.100.2:8080");
    assert!(page.ends_with("hello from debian\n"), "{page}");
}

#[track_caller]
fn fetched(ground: &Ground, address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let mut page = String::new();
    soon("the page", || {
        page = ground.outside().run(|| get(address)).unwrap().unwrap_or_default();
        !page.is_empty()
    });
    page
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    connection.read_to_string(&mut page)?;
    Ok(page)
}
