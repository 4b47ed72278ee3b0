# The server against real clients, real storage and real trouble.

check "packages" apt_install postgresql nginx wrk strace faketime
check "npm ci" npm ci
check "tools" npm run test:tools -- server
tests clients
tests s3
tests postgres
tests crash
tests faults
tests fuzz
check "bench (a short one: it runs; the figures mean nothing here)" npm run bench -- --rounds 1 --seconds 1 --entries 20000
