//! The laboratory itself: what it makes is there, and what it leaves is nothing.

use netns_fixtures::{Lab, isolate};
use std::{fs, io, path::Path};

isolate!();

#[test]
fn the_process_has_a_network_and_a_run_of_its_own() -> io::Result<()> {
    let entries = fs::read_dir("/run")?.map(|entry| Ok(entry?.file_name()));
    assert_eq!(entries.collect::<io::Result<Vec<_>>>()?, ["netns"]);
    let links = fs::read_to_string("/proc/self/net/dev")?;
    assert_eq!(links.lines().filter(|line| line.contains(':')).count(), 1, "{links}");
    Ok(())
}

#[test]
fn sysfs_shows_the_own_network() -> io::Result<()> {
    let links = fs::read_dir("/sys/class/net")?.map(|entry| Ok(entry?.file_name()));
    let links = links.collect::<io::Result<Vec<_>>>()?;
    assert_eq!(links, ["lo"]);
    Ok(())
}

#[test]
fn a_host_has_lo_up_and_a_container_has_it_down() -> io::Result<()> {
    let lab = Lab::new();
    let up = |node: &netns_fixtures::Node| {
        Ok::<_, io::Error>(node.ip(&["link", "show", "lo"])?.contains("UP"))
    };
    assert!(up(&lab.host("host")?)?);
    assert!(!up(&lab.named("bare")?)?);
    let container = lab.container("box")?;
    assert!(!up(&container)?);
    Ok(())
}

#[test]
fn every_node_is_another_namespace() -> io::Result<()> {
    let lab = Lab::new();
    let (host, bare, container) = (lab.host("host")?, lab.named("bare")?, lab.container("box")?);
    let mut inodes = vec![
        fs::metadata("/proc/self/ns/net").map(|meta| std::os::unix::fs::MetadataExt::ino(&meta))?,
    ];
    inodes.extend([host.netns_inode()?, bare.netns_inode()?, container.netns_inode()?]);
    inodes.sort_unstable();
    inodes.dedup();
    assert_eq!(inodes.len(), 4);
    Ok(())
}

#[test]
fn threads_and_commands_run_inside_and_the_caller_stays_outside() -> io::Result<()> {
    let lab = Lab::new();
    let host = lab.host("host")?;
    let before = fs::read_link("/proc/thread-self/ns/net")?;
    let wanted = format!("net:[{}]", host.netns_inode()?);
    let by_thread = host.run(|| fs::read_link("/proc/thread-self/ns/net"))??;
    assert_eq!(by_thread, Path::new(&wanted));
    let by_command = host.command("readlink").arg("/proc/self/ns/net").output()?;
    assert_eq!(String::from_utf8_lossy(&by_command.stdout).trim(), wanted);
    assert_eq!(fs::read_link("/proc/thread-self/ns/net")?, before);
    Ok(())
}

#[test]
fn sysctls_can_be_read_and_written_inside_only() -> io::Result<()> {
    let lab = Lab::new();
    let (one, other) = (lab.host("one")?, lab.host("other")?);
    one.set_sysctl("net/ipv4/ip_forward", "1")?;
    one.set_sysctl("net.ipv6.conf.all.forwarding", "1")?;
    assert_eq!(one.sysctl("net.ipv4.ip_forward")?, "1");
    assert_eq!(one.sysctl("net/ipv6/conf/all/forwarding")?, "1");
    assert_eq!(other.sysctl("net/ipv4/ip_forward")?, "0");
    Ok(())
}

#[test]
fn a_failing_tool_is_an_error_with_its_complaint() -> io::Result<()> {
    let lab = Lab::new();
    let host = lab.host("host")?;
    let error = host.ip(&["link", "show", "dev", "absent"]).unwrap_err().to_string();
    assert!(
        error.contains("host: ip link show dev absent")
            && error.contains("absent\" does not exist"),
        "{error}"
    );
    let error = host.nft("add table inet").unwrap_err().to_string();
    assert!(error.contains("syntax error"), "{error}");
    Ok(())
}

#[test]
fn a_panic_inside_reaches_the_test() -> io::Result<()> {
    let lab = Lab::new();
    let host = lab.host("host")?;
    let outcome = std::panic::catch_unwind(|| host.run(|| panic!("as ordered")));
    assert!(outcome.is_err());
    Ok(())
}

#[test]
fn dropping_the_lab_leaves_no_mount_no_name_and_no_process() -> io::Result<()> {
    let lab = Lab::new();
    let (host, bare, container) =
        (lab.host("leaver")?, lab.named("leaver-too")?, lab.container("box")?);
    lab.wire(&host, "eth0", &["192.0.2.1/24"], &container, "eth0", &["192.0.2.2/24"])?;
    let process = format!("/proc/{}", container.pid());
    assert!(
        Path::new(&process).exists() && fs::read_to_string("/proc/self/mounts")?.contains("leaver")
    );
    drop(lab);
    assert!(!Path::new(&process).exists(), "the process is still there");
    assert!(!host.path().exists() && !bare.path().exists());
    assert!(!fs::read_to_string("/proc/self/mounts")?.contains("leaver"));
    Ok(())
}

#[test]
fn killing_a_container_ends_its_namespace() -> io::Result<()> {
    let lab = Lab::new();
    let (host, container) = (lab.host("host")?, lab.container("box")?);
    lab.wire(&host, "veth", &[], &container, "eth0", &[])?;
    container.kill()?;
    container.kill()?;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    // The kernel takes a namespace apart in its own time, and the host's end of the wire with it.
    while host.ip(&["link", "show", "veth"]).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the other end outlives the namespace");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = container.run(|| ()).unwrap_err().to_string();
    assert!(error.contains("open the netns of box"), "{error}");
    Ok(())
}

#[test]
fn a_container_ends_with_this_process_not_with_the_thread_that_made_it() -> io::Result<()> {
    let lab = Lab::new();
    let container =
        std::thread::scope(|scope| scope.spawn(|| lab.container("box")).join()).unwrap()?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()))?;
    assert!(!status.contains("State:\tZ"), "{status}");
    Ok(())
}

#[test]
fn several_labs_may_use_the_same_names() -> io::Result<()> {
    let (one, other) = (Lab::new(), Lab::new());
    let (a, b) = (one.host("host")?, other.host("host")?);
    assert_ne!(a.path(), b.path());
    assert_eq!(a.name(), b.name());
    Ok(())
}
