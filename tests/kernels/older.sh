# All that netup does by hand, on an older kernel.
world
for name in a b c; do container $name; done
pid=/run/netns
# By itself the module comes with two links.
modprobe ifb numifbs=0

netup $pid/a 10.0.0.2/24 fd00::2/64 --nat
netup down $pid/a
state >/before

echo "# routed: NAT, ports, limits"
netup $pid/a 10.0.0.2/24 fd00::2/64 --nat -p 8080:80 --bandwidth-out 8mbit --bandwidth-in 8mbit
netup $pid/b 10.0.0.3/24 fd00::3/64 --isolation isolated
serve a
reached a 192.0.2.2
reached a 10.0.0.1
reached a fd00::1
asks host 127.0.0.1 8080 a
asks world 192.0.2.1 8080 a
asks a 192.0.2.1 8080 a
unreached a 10.0.0.3
tc qdisc show | grep tbf
netup check
netup ls
netup down $pid/a
netup down $pid/b
state >/after
diff /before /after

echo "# a bridge"
netup $pid/a 10.1.0.2/24 fd01::2/64 --bridge br0 --nat -p 8080:80 --isolation isolated
netup $pid/b 10.1.0.3/24 fd01::3/64 --bridge br0 --isolation isolated
reached a 192.0.2.2
reached b fd01::1
unreached a 10.1.0.3
asks world 192.0.2.1 8080 a
netup check
netup down $pid/a
netup down $pid/b
state >/after
diff /before /after

echo "# a crash"
netup $pid/c --subnet 10.2.0.0/24 --nat -p 8081:80
ip netns delete c
sleep 1
netup gc
state >/after
diff /before /after
