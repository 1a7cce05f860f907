# VLANs on the ports of a bridge, by the CNI type `bridge` and by type `netup`.
world
for name in a b c d e f t; do container $name; done
host_local='"ipam":{"type":"host-local","subnet":'
static='"ipam":{"type":"static","addresses":[{"address":'
network plain bridge "\"bridge\":\"br0\",\"isGateway\":true,\"ipMasq\":true,$host_local\"10.1.0.0/24\"}"
network v10 bridge "\"bridge\":\"br0\",\"vlan\":10,\"isDefaultGateway\":true,\"ipMasq\":true,$host_local\"10.10.0.0/24\"}"
network v20 bridge "\"bridge\":\"br0\",\"vlan\":20,\"isGateway\":true,$host_local\"10.20.0.0/24\"}"
network x20 bridge "\"bridge\":\"br0\",\"vlan\":20,$static\"10.10.0.99/24\"}]}"
network v31 bridge "\"bridge\":\"br0\",\"vlan\":31,$static\"10.31.0.2/24\"}]}"
network trunk bridge "\"bridge\":\"br0\",\"vlan\":10,\"vlanTrunk\":[{\"id\":20},{\"minID\":30,\"maxID\":31}],$static\"10.10.0.50/24\"}]}"
network v40 netup "\"bridge\":\"br0\",\"vlan\":40,\"subnets\":[\"10.40.0.0/24\"],\"masquerade\":true,\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80}]"

# The first call of all leaves the static rules and forwarding.
cni ADD plain a
cni DEL plain a
cni ADD v31 e
cni DEL v31 e
state >/before

cni ADD v10 a >/result
echo "@result $(tr -d '\n' </result)"
cni ADD v10 b
cni ADD v20 c
cni ADD x20 d
cni ADD v31 e
cni ADD v40 f
cni ADD trunk t
bridge vlan show
ip -o -d link

echo "# who is on the same VLAN, and who is not"
reached a 10.10.0.3
reached a 10.10.0.1
reached a 10.10.0.50
reached c 10.20.0.1
unreached d 10.10.0.1
unreached d 10.10.0.2
unreached c 10.10.0.2
reached a 192.0.2.2
unreached c 192.0.2.2

echo "# a trunk's frames bear their VLAN"
for id in 20 31 32; do
	ip -n t link add link eth0 name eth0.$id type vlan id $id
	ip -n t link set eth0.$id up
done
ip -n t address add 10.20.0.77/24 dev eth0.20
ip -n t address add 10.31.0.77/24 dev eth0.31
reached t 10.20.0.2
reached t 10.31.0.2
ip -n t address delete 10.20.0.77/24 dev eth0.20
ip -n t address add 10.20.0.77/24 dev eth0.32
unreached t 10.20.0.2

echo "# published ports lead into a VLAN"
serve f
asks host 10.40.0.2 80 f
asks host 127.0.0.1 8080 f
asks world 192.0.2.1 8080 f
asks a 192.0.2.1 8080 f
asks f 192.0.2.1 8080 f

echo "# what holds, and what is missed"
cni CHECK v10 a /result
port=$(sed -n 's/.*"name": *"\(nu[0-9a-f]*\)".*/\1/p' /result)
bridge vlan delete dev $port vid 10
if cni CHECK v10 a /result; then exit 1; fi
unreached a 10.10.0.1
netup check --repair a || true
cni CHECK v10 a /result
reached a 10.10.0.1

echo "# the VLANs' links go with the last container"
for name in a b; do cni DEL v10 $name; done
cni DEL v20 c
cni DEL x20 d
cni DEL v31 e
cni DEL v40 f
ip link show br0.40
cni DEL trunk t
state >/after
diff /before /after

echo "# a bridge of somebody else's"
ip link add br1 type bridge
ip link set br1 addrgenmode none
ip link set br1 up
ip address add 192.168.7.1/24 dev br1
state >/before
network w10 bridge "\"bridge\":\"br1\",\"vlan\":10,\"isGateway\":true,$host_local\"10.11.0.0/24\"}"
cni ADD w10 a
cni ADD w10 b
ip -d link show br1 | grep 'vlan_filtering 1'
reached a 10.11.0.1
reached a 10.11.0.3
unreached a 10.11.0.9
cni DEL w10 a
reached b 10.11.0.1
cni DEL w10 b
ip -d link show br1 | grep 'vlan_filtering 0'
state >/after
diff /before /after

echo "# where bridged frames pass the rules"
modprobe br_netfilter
grep 1 /proc/sys/net/bridge/bridge-nf-call-iptables
cni ADD v40 f
cni ADD v10 a >/result
cni ADD v10 b >/other
other=$(sed 's/.*"address":"\([0-9.]*\).*/\1/' /other)
reached a 10.10.0.1
reached a "$other"
reached a 192.0.2.2
asks host 127.0.0.1 8080 f
asks world 192.0.2.1 8080 f
asks a 192.0.2.1 8080 f
asks f 192.0.2.1 8080 f
