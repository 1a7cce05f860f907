# What the scripts share. Each command must succeed, or the machine stops with a failure.

# The shell would take its own.
ip() { /bin/ip "$@"; }
tc() { /bin/tc "$@"; }

# A container: a namespace with a name.
container() {
	ip netns add "$1"
	ip -n "$1" link set lo up
}

# The world: a host of its own on the other end of a wire.
world() {
	container world
	ip link add up0 type veth peer name eth0 netns world
	ip address add 192.0.2.1/24 dev up0
	ip link set up0 up
	ip -n world address add 192.0.2.2/24 dev eth0
	ip -n world link set eth0 up
	ip route add default via 192.0.2.2
}

reached() {
	ip netns exec "$1" ping -c 1 -W 5 "$2"
}

unreached() {
	if ip netns exec "$1" ping -c 1 -W 1 "$2"; then
		echo "$1 reaches $2"
		exit 1
	fi
}

# Says a name to whoever asks at a container's port.
serve() {
	mkdir -p "/www/$1"
	echo "this is $1" >"/www/$1/index.html"
	ip netns exec "$1" httpd -p 80 -h "/www/$1"
}

# What somebody (a container, or the host) is told at an address and port.
asks() {
	case $1 in
	host) told=$(printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 "$2" "$3") ;;
	*) told=$(printf 'GET / HTTP/1.0\r\n\r\n' | ip netns exec "$1" nc -w 5 "$2" "$3") ;;
	esac
	case $told in
	*"this is $4"*) ;;
	*) exit 1 ;;
	esac
}

# A CNI call: verb, network, container, and for CHECK what ADD had answered.
cni() {
	conf=$(cat "/conf/$2")
	[ -z "$4" ] || conf="${conf%\}},\"prevResult\":$(cat "$4")}"
	echo "$conf" >/conf/now
	CNI_COMMAND=$1 CNI_CONTAINERID=$3 CNI_NETNS=/run/netns/$3 CNI_IFNAME=eth0 CNI_PATH=/cni "/cni/$(cat "/conf/$2.type")" </conf/now
}

# Configures a network: name, type, and the keys of the type.
network() {
	mkdir -p /conf /cni
	ln -sf /bin/netup "/cni/$2"
	echo "$2" >"/conf/$1.type"
	echo "{\"cniVersion\":\"1.0.0\",\"name\":\"$1\",\"type\":\"$2\",$3}" >"/conf/$1"
}

# All that netup could leave behind: all but its lock, and whose turn it is in a pool. A bridge whose
# last port is gone is not quite like one that never had any.
state() {
	ip -o link | sed 's/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]* / /'
	ip -o address
	ip route show table all | sed 's, linkdown,,'
	nft list ruleset
	find /run/netup -type f | grep -v -e '/lock$' -e /pools/ || true
	find /var/lib/cni -name '[0-9]*' 2>/dev/null || true
}
