use super::*;
use crate::reply::samples;

const OFF: Paint = Paint::never();

#[test]
fn each_plugin_gets_a_line() {
    assert_eq!(
        installation(&samples::installation(), OFF),
        "/opt/cni/bin/netup installed\n/opt/cni/bin/bridge replaced another\n"
    );
}

#[test]
fn up_says_what_now_exists() {
    assert_eq!(
        outcome(&samples::outcome(), OFF),
        "\
web@eth0 created (0.9 ms)
  host link  nu4ecb0a26d6a2  routed
  container  eth0  02:00:00:00:00:02
  addresses  10.0.0.2/24
             fd00::2/64
  gateways   10.0.0.1
             fd00::1
  routes     10.9.0.0/16,via=10.0.0.9,metric=5
  nat        on
  published  8080:80/tcp
             127.0.0.1:53:53/udp
  mtu        1500
  bandwidth  in 8mbit:1mbit
             out 4mbit:1mbit
  isolation  isolated
  sysctls    net.ipv4.tcp_syncookies=1
"
    );
}

#[test]
fn show_says_more() {
    assert_eq!(
        details(&samples::statuses()[1..], OFF),
        "\
db@eth0 dead
  target     /run/netns/blue
  netns      cookie 4096
  host mac   02:00:00:00:00:01
  host link  nu0  on bridge br0
  container  eth0  02:00:00:00:00:02
  addresses  10.0.0.3/24
  gateway    10.0.0.1  on br0.10  no default route
  nat        off
"
    );
    assert!(details(&samples::statuses(), OFF).contains("\n\ndb@eth0 dead\n"));
}

#[test]
fn ls_aligns_its_columns() {
    assert_eq!(
        list(&samples::statuses(), OFF),
        "\
ID   IFNAME  TARGET           STATE  HOST-LINK       ADDRESSES               PUBLISH
web  eth0    4711             up     nu4ecb0a26d6a2  10.0.0.2/24,fd00::2/64  8080:80/tcp,127.0.0.1:53:53/udp
db   eth0    /run/netns/blue  dead   nu0             10.0.0.3/24             -
"
    );
    assert_eq!(list(&[], OFF), "ID  IFNAME  TARGET  STATE  HOST-LINK  ADDRESSES  PUBLISH\n");
}

#[test]
fn down_has_a_line_each() {
    assert_eq!(detached(&samples::detached(), OFF), "web@eth0 removed (0.6 ms)\n");
    assert_eq!(detached(&[], OFF), "nothing to remove\n");
}

#[test]
fn check_lists_what_drifted() {
    assert_eq!(
        checked(&samples::checked(), OFF),
        "\
web@eth0 ok
db@eth0 drifted
  ip link set nu0 up
  sysctl -w net.ipv4.ip_forward=1
"
    );
    assert_eq!(checked(&samples::checked()[..1], OFF), "ok, 1 attachment\n");
    let mut mended = samples::checked();
    mended[1].repaired = true;
    assert!(checked(&mended, OFF).contains("\ndb@eth0 repaired\n"));
}

#[test]
fn gc_and_reload_count() {
    assert_eq!(
        collected(&samples::collected(), OFF),
        "removed 2 attachments: web@eth0, old@eth0\n\
         db@eth0 not removed: ip link del nu0: Operation not permitted (EPERM); run as root, or \
         with CAP_NET_ADMIN and CAP_SYS_ADMIN over both network namespaces\n"
    );
    assert_eq!(collected(&Collected::default(), OFF), "nothing to remove\n");
    assert_eq!(reloaded(&samples::reloaded()), "rules and 7 elements of 2 attachments put back\n");
}

#[test]
fn doctor_marks_and_remedies() {
    assert_eq!(
        findings(&samples::findings(), OFF),
        "\
✔ forwarding  on for IPv4 and IPv6
! docker      policy of FORWARD is drop
              → iptables -P FORWARD ACCEPT
✘ nft         not installed
              → apt install nftables
"
    );
}

#[test]
fn colours_change_no_width() {
    let on = Paint::always();
    let strip = |text: String| {
        let mut plain = String::new();
        let mut parts = text.split('\x1b');
        plain += parts.next().unwrap();
        parts.for_each(|part| plain += part.split_once('m').unwrap().1);
        plain
    };
    let all = samples::statuses();
    assert_ne!(list(&all, on), list(&all, OFF));
    assert_eq!(strip(list(&all, on)), list(&all, OFF));
    assert_eq!(strip(details(&all, on)), details(&all, OFF));
    assert_eq!(strip(outcome(&samples::outcome(), on)), outcome(&samples::outcome(), OFF));
    assert_eq!(strip(findings(&samples::findings(), on)), findings(&samples::findings(), OFF));
}

#[test]
fn times() {
    let of = |micros| time(Duration::from_micros(micros));
    assert_eq!(of(40), "40 µs");
    assert_eq!(of(912), "0.9 ms");
    assert_eq!(of(9_960), "10 ms");
    assert_eq!(of(24_400), "24 ms");
    assert_eq!(of(1_240_000), "1.2 s");
}

#[test]
fn foreign_text_has_no_power_over_the_terminal() {
    let mut all = samples::statuses();
    all[0].attachment.target = "/tmp/\x1b[31m\nx".parse().unwrap();
    assert!(!list(&all, OFF).contains('\x1b'));
    assert_eq!(list(&all, OFF).lines().count(), 3);
    assert!(details(&all, OFF).contains(r"/tmp/\u{1b}[31m\nx"));
}
