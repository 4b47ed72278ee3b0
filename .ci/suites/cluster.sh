# The operator on real Kubernetes, in namespaces of its own: nothing of it is skipped where rights are missing, it fails.

check "packages" apt_install containerd runc containernetworking-plugins iptables nftables conntrack iproute2 prometheus postgresql
check "npm ci" npm ci
check "tools" npm run test:tools -- cluster
# Two clusters side by side: the tests of one wait while those of the other work.
{ tests charts; tests control-plane; } >"$scratch/control-plane.log" 2>&1 &
tests cluster
wait $!
cat "$scratch/control-plane.log"
