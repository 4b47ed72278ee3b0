# Binary caches of Nix, with Debian's Nix and a current one: they build in /nix/store and change roots, so they want to be root.

check "packages" apt_install nix-bin xz-utils bzip2
check "npm ci" npm ci
check "tools" npm run test:tools -- nix
tests nix
