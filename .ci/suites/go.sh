# Go's build cache with a real toolchain: our helper as it lies in dist, and go-cacher.

check "npm ci" npm ci
check "tools" npm run test:tools -- go
tests go
