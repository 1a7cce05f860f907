# Each line must succeed.
run() {
	netup-run run --quiet --writes direct "$@"
}

fails() {
	expected=$1
	shift
	status=0
	"$@" || status=$?
	[ $status = $expected ]
}

echo "# memory: it is killed as a whole, and the rest of the machine lives"
fails 137 run --memory 32m /img/ dd if=/dev/zero of=/dev/null bs=200M count=1
run --memory 64m /img/ dd if=/dev/zero of=/dev/null bs=10M count=1

echo "# processes"
fails 2 run --pids 6 /img/ sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 30 & done; wait' 2>/told
grep "can't fork" /told
run --pids 20 /img/ sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 0 & done; wait'

echo "# figures"
netup-run run --quiet --writes direct --name busy --memory 64m --cpus 0.2 --pids 20 /img/ sh -c 'while :; do :; done' &
sleep 4
echo "@stats $(netup-run stats busy --json)"
from=$(cut -d. -f1 /proc/uptime)
sleep 8
echo "@later $(netup-run stats busy --json)"
echo "@elapsed $(($(cut -d. -f1 /proc/uptime) - from))"
netup-run ps
netup-run ps busy
netup-run stats busy

echo "# a pause"
netup-run pause busy
netup-run ps | grep paused
netup-run resume busy
kill $!
wait $! || true

# Others' controllers stay on for it, so that there are figures.
netup-run run --quiet --writes direct --name free /img/ sleep 100 &
sleep 3
echo "@free $(netup-run stats free --json)"
kill $!
wait $! || true
[ ! -e /sys/fs/cgroup/netup-run ]
