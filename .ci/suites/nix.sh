# Binary caches of Nix, with the real Nix: it builds in /nix/store, so it wants to be root.

check "packages" apt_install nix-bin xz-utils bzip2
check "npm ci" npm ci
tests nix
