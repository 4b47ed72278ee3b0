#!/usr/bin/env bash
# Runs a command where a whole cluster may be built without touching the machine: enter.sh COMMAND…
#
# It gets a network of its own (loopback alone, so nothing leaves it and several can run side by side), mounts of its own and
# processes of its own: when the command ends, the kernel ends all that it started and forgets its mounts, links and rules.
# Cgroups are the one thing that stays; they lie in a group named after the state directory and are removed here.
set -euo pipefail

lacking() { echo "The cluster tests can't run here: $1. They are never skipped: run them as root, in a container with --privileged." >&2; exit 1; }

inside() {
  local state=$1 place
  shift
  # Paths that containerd, runc, CNI and kubelet have fixed.
  for place in /run /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers; do
    mkdir -p "$place" "$state/root$place"
    mount --bind "$state/root$place" "$place"
  done
  mkdir -p /run/netns /run/lock
  # The kubelet sets the machine's kernel parameters unless they are as it wants them. Here it sees what it wants.
  mkdir "$state/sysctl"
  for pair in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    place=$state/sysctl/${pair//[\/=]/.}
    echo "${pair#*=}" >"$place"
    mount --bind "$place" "/proc/sys/${pair%=*}"
  done
  # Names are answered by the rig alone.
  echo "nameserver 10.88.0.1" >"$state/resolv.conf"
  mount --bind "$state/resolv.conf" "$(readlink -f /etc/resolv.conf)"
  ip link set lo up
  ip link add rig0 type bridge || lacking "the network can't have a bridge"
  ip addr add 10.88.0.1/24 dev rig0
  ip link set rig0 up
  # Processes outside of pods reach ClusterIPs too: without a route the kernel gives up before it asks kube-proxy's rules.
  ip route add 10.96.0.0/16 dev rig0
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 || lacking "the kernel has no bridge netfilter (modprobe br_netfilter)"
  iptables -S >/dev/null || lacking "iptables doesn't work"
  mkdir -p "$state/try"/{lower,upper,work,merged}
  mount -t overlay overlay -o "lowerdir=$state/try/lower,upperdir=$state/try/upper,workdir=$state/try/work" "$state/try/merged" ||
    lacking "$state can't hold overlay file systems (STOWHOUSE_RIG moves it)"
  umount "$state/try/merged"
  # Not exec: process 1 of the namespace buries the orphans of containers.
  "$@" || exit $?
}

# The groups that hold the kubelet's, one in each hierarchy of version 1, or one in version 2.
cgroups() { find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -printf '%h\n' | while read -r hierarchy; do echo "$hierarchy/$1"; done; }

outside() {
  local state code=0 program group
  [ "$(id -u)" = 0 ] || lacking "this is not root"
  for program in unshare ip iptables conntrack containerd runc openssl; do type -P "$program" >/dev/null || lacking "$program is not installed"; done
  [ -x /usr/lib/cni/bridge ] || lacking "the CNI plugins are not installed in /usr/lib/cni"
  unshare --net --mount --pid --fork true || lacking "it may not make namespaces (CAP_SYS_ADMIN)"
  state=$(mktemp -d "${STOWHOUSE_RIG:-${TMPDIR:-/tmp}}/stowhouse-rig-XXXXXX")
  for group in $(cgroups "${state##*/}"); do mkdir -p "$group" || lacking "it may not make cgroups in ${group%/*}"; done
  trap 'leave "$state"' EXIT
  RIG=$state unshare --net --mount --pid --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" --inside "$state" "$@" || code=$?
  exit $code
}

leave() {
  local group
  for group in $(cgroups "${1##*/}"); do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || { sleep 1; find "$group" -depth -type d -exec rmdir {} + || true; }
  done
  rm -rf --one-file-system "$1"
}

if [ "${1:-}" = --inside ]; then shift; inside "$@"; else outside "$@"; fi
