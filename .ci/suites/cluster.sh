# The operator on real Kubernetes, in namespaces of its own: nothing of it is skipped where rights are missing, it fails.

check "packages" apt_install containerd runc containernetworking-plugins iptables nftables conntrack iproute2 prometheus postgresql
check "npm ci" npm ci
check "tools" npm run test:tools -- cluster
tests charts
tests cluster
