#!/bin/busybox sh
# Runs the kernel tests in a kernel that is not this machine's. `cargo xtask vm` makes a root directory with the tests,
# their programs and this script as /init; it is the first process under qemu, and runs in a chroot under vagrant.
#
# One line for each test goes to standard output, the end of what it said where it failed. Exit status 0: all passed.
# As the first process there is nobody to take an exit status: the results go to the second serial line, and the
# machine is switched off.

/bin/busybox mkdir -p /bin /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset LD_LIBRARY_PATH
patience=240 # seconds for one test, of which emulation needs the half on a busy machine

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup

results=/dev/null
[ $$ != 1 ] || results=/dev/ttyS1

while read -r module; do
    [ ! -e "/modules/$module.ko" ] || insmod "/modules/$module.ko" 2>/tmp/insmod || echo "module $module: $(cat /tmp/insmod)"
done </modules/order

if [ $$ = 1 ]; then
    # This shell takes its own tools before those on the path.
    ip=/usr/sbin/ip
    # A network that leads nowhere, as seen from most machines: an address beside loopback's, and a way to the others.
    $ip link set lo up
    $ip link add nowhere type dummy
    $ip link set nowhere up
    $ip address add 198.51.100.2/24 dev nowhere
    $ip route add default dev nowhere
    $ip -6 address add 2001:db8:ffff::2/64 dev nowhere nodad
    $ip -6 route add default dev nowhere
fi

# Some tests need a cgroup of their own that is not the root.
own=/sys/fs/cgroup/node-agent-kernel-tests
mkdir -p $own
echo $$ >$own/cgroup.procs

hundredths() {
    read -r up _ </proc/uptime
    echo $((${up%.*} * 100 + 1${up#*.} - 100))
}

# wanted TEST: whether it is among the names asked for, or none is.
wanted() {
    [ -s /tests/names ] || return 0
    while read -r name; do
        case $1 in *"$name"*) return 0 ;; esac
    done </tests/names
    return 1
}

echo "kernel $(uname -r) on $(grep -c ^processor /proc/cpuinfo) processors, up for $(cut -d' ' -f1 /proc/uptime) s"
export NODE_AGENT_TEST_ALLOW_SKIP=1

# lane FIRST STEP: every STEP-th of the tests, from the FIRST; what came of each goes to /tmp/lane-FIRST, a word a line.
lane() {
    at=0 said=/tmp/said-$1 skips=/tmp/skipped-$1
    while read -r test; do
        at=$((at + 1))
        [ $((at % $2)) = $(($1 % $2)) ] || continue
        from=$(hundredths)
        if timeout -s KILL $patience /tests/kernel --exact "$test" --nocapture >$said 2>&1; then
            if grep 'SKIPPED: ' $said >$skips; then
                word=skipped
                sed 's/^.*SKIPPED: /skipped /' $skips >$results
            else
                word=ok
            fi
        else
            word=FAILED
            tail -n 40 $said
            echo "failed $test" >$results
        fi
        echo $word >>/tmp/lane-$1
        took=$(($(hundredths) - from))
        printf '%-7s %3d.%02d s  %s\n' $word $((took / 100)) $((took % 100)) "$test"
    done
}

all=$(hundredths)
for test in $(/tests/kernel --list --format terse | sed -n 's/: test$//p'); do
    ! wanted "$test" || echo "$test"
done >/tmp/tests
# As many side by side as there are processors, but not what is measured against time.
grep 'costs' /tmp/tests >/tmp/alone
grep -v 'costs' /tmp/tests >/tmp/together
lane 0 1 </tmp/alone
lanes=$(grep -c ^processor /proc/cpuinfo)
one=1
while [ $one -le "$lanes" ]; do
    lane $one "$lanes" </tmp/together &
    one=$((one + 1))
done
wait
touch /tmp/lane-0
count() { cat /tmp/lane-* | grep -c "^$1\$"; }
passed=$(count ok) failed=$(count FAILED) skipped=$(count skipped)
took=$(($(hundredths) - all))
echo "$passed passed, $failed failed, $skipped skipped in $((took / 100)) s"
good=0
[ $failed = 0 ] && [ $((passed + skipped)) -gt 0 ] || good=1
# A lane that ended early leaves its tests without a word.
if [ $((passed + failed + skipped)) = $(wc -l </tmp/tests) ]; then
    echo "end $passed $failed $skipped" >$results
else
    echo "of $(wc -l </tmp/tests) tests some did not run"
    good=1
fi

if [ $$ = 1 ]; then
    # The serial lines first empty their buffers.
    sync
    sleep 1
    poweroff -f
    sleep 60
fi
echo $$ >/sys/fs/cgroup/cgroup.procs
# What watches over the time of the last test takes a moment to go.
for _ in 1 2 3 4 5; do
    rmdir $own 2>/dev/null && break
    sleep 1
done
exit $good
