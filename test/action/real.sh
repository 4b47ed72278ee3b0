#!/usr/bin/env bash
# Real actions under interception: test/action/real.sh DIR…, each a checkout of actions/cache (v5) or actions/setup-node with its
# dist. Needs act (npm run test:tools -- action) and a server: STOWHOUSE_SERVER, STOWHOUSE_TOKEN (an API key that writes).
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec node test/action/real.ts "$@"
