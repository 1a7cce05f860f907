//! What the long help says beyond the options: examples first, since that is what people look for.

pub const USAGE: &str = "netup TARGET ADDRESS… [OPTIONS]\n       netup COMMAND";

pub const SEE_MORE: &str =
    "`netup --help` has examples, `netup up --help` all options for connecting a container.";

pub const TOP: &str = "\
Examples:
  netup 4711 10.0.0.2/24 --nat               connect process 4711, with access to the outside
  netup 4711 10.0.0.2/24 -p 8080:80          … and reachable through port 8080 of the host
  netup up web --subnet 10.0.0.0/24          a free address for the namespace /run/netns/web
  netup ls                                   what is connected
  netup down 4711                            take it away again
  netup doctor                               why does it not work?

A container that is called like a command is reached by `netup up NAME …`.

Exit status:
  0  done           2  wrong usage    4  not permitted
  1  failed         3  not found      5  in conflict with what exists";

pub const UP: &str = "\
Examples:
  netup 4711 10.0.0.2/24                     routed: the host is the gateway, 10.0.0.1
  netup 4711 10.0.0.2/24 fd00::2/64 --nat    both families, masqueraded to the outside
  netup 4711 10.0.0.2/24 --nat -p 8080:80 -p 127.0.0.1:53:53/udp
  netup 4711 --subnet 10.0.0.0/24 --id web   a free address, remembered as \"web\"
  netup 4711 10.0.0.2/24 --bridge br0        on a bridge, with others in one segment
  netup 4711 10.0.0.2/24 --bandwidth-in 10mbit --isolation isolated
  netup /run/netns/blue 10.0.0.2/24 --no-default-route --route 10.9.0.0/16,via=10.0.0.9
  netup 4711 10.0.0.2/24 --dry-run           only print the commands

A route takes mtu=N, advmss=N, table=N and scope=N, too. Rates are in bits, with kbit, mbit or gbit;
what may pass at once follows a colon (10mbit:1mbit).

Asking again for what holds already is success (\"unchanged\"). Asking for something else under the
same interface name is a conflict (exit status 5) unless --replace is given.";

pub const DOWN: &str = "\
Examples:
  netup down 4711                            every interface that netup gave to process 4711
  netup down web --ifname eth1               one interface of the container \"web\"";

pub const LS: &str = "\
STATE is up; dead, when the container has ended (`netup gc` clears the rest); or incomplete, when a
call was interrupted half-way (`netup gc` or the next call clears it).";

pub const CHECK: &str = "\
Each line below a drifted container is the command that would put it back.
Exit status 1 means that something drifted and was not repaired.";

pub const RELOAD: &str = "\
The service netup-reload.service does this whenever nftables or firewalld is restarted.";

pub const DOCTOR: &str = "\
Exit status 1 means that something keeps netup from its work; warnings do not count.";

pub const COMPLETIONS: &str = "\
Examples:
  netup completions bash > /usr/share/bash-completion/completions/netup
  netup completions zsh > /usr/local/share/zsh/site-functions/_netup
  netup completions fish > ~/.config/fish/completions/netup.fish";

pub const INSTALL_CNI: &str = "\
Examples:
  netup install-cni                          netup and all nine standard plugins
  netup install-cni --names bridge,portmap   netup and these two
  netup install-cni --replace                … also where others have put theirs
  netup install-cni --uninstall              as it was before

DIR/netup is a copy of this program, the plugins are hard links to it. Each is put into its place at
once, so that no runtime ever finds half a plugin or none. Containers that are connected stay so.";
