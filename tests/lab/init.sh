#!/lab/busybox sh
# PID 1 of the lab. Runs twice: from the initramfs, and again from a tmpfs,
# because pivot_root(2) refuses to leave an initramfs.
#
# /lab/job.sh is made anew for each run: it defines `shares` (calls of `share`)
# and `job` (what is to be run).

bb=/lab/busybox
say() { echo "<3>lab: $*" >/dev/kmsg; }
share() { # TAG PATH ro|rw
    $bb mkdir -p "$2"
    $bb mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=loose,$3" "$1" "$2" ||
        say "cannot mount $1 on $2"
}
port() { # NAME: the virtio port of that name
    for p in /sys/class/virtio-ports/*; do
        [ "$($bb cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}"
    done
}

if [ -e /modules.order ]; then
    $bb mkdir -p /proc /sys /dev /new
    $bb mount -t devtmpfs dev /dev
    while read -r module; do
        $bb insmod "/modules/$module" || say "cannot load $module"
    done </modules.order
    $bb mount -t tmpfs -o mode=755 root /new
    $bb cp -a /lab /new/lab
    $bb mkdir /new/dev
    $bb mount -o move /dev /new/dev
    exec $bb switch_root /new /lab/init.sh
fi

. /lab/job.sh
$bb mkdir -p /proc /sys /run /tmp /var /etc /root /home /mnt /opt /srv
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t tmpfs -o mode=1777 tmp /tmp
$bb mount -t tmpfs -o mode=755 run /run
$bb mkdir -p /dev/pts /dev/shm /dev/mqueue
$bb mount -t devpts -o gid=5,mode=620,ptmxmode=666 pts /dev/pts
$bb mount -t tmpfs -o mode=1777 shm /dev/shm
$bb mount -t mqueue mqueue /dev/mqueue
$bb ln -sf /proc/self/fd /dev/fd
$bb mount -t cgroup2 cgroup /sys/fs/cgroup
for controller in $($bb cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
$bb mount -t debugfs debug /sys/kernel/debug
$bb mount -t ext4 /dev/vda /var || say "cannot mount the scratch disk"
$bb mkdir -p /var/lib /var/tmp /var/cache /var/log
$bb chmod 1777 /var/tmp
$bb ln -s /run /var/run
for name in bin sbin lib lib64; do $bb ln -s "usr/$name" "/$name"; done
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >>/etc/passwd
echo 'root:x:0:' >/etc/group
echo 'nogroup:x:65534:' >>/etc/group
echo '127.0.0.1 localhost lab' >/etc/hosts
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
echo lab >/etc/hostname
$bb hostname lab
$bb ip link set lo up
beat=$(port lab.beat)
while echo >"$beat"; do $bb sleep 5; done &
shares

out=$(port lab.out)
( job ) </dev/null >"$out" 2>&1
echo $? >"$(port lab.status)"
$bb umount /var
$bb poweroff -f
