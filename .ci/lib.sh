# What the suites use. Sourced by .ci/run in the root of the repository.

scratch=$(mktemp -d)
results=$scratch/results
: >"$results"

headline() { printf '\n=== %s\n' "$1"; }

# count PASSED FAILED
count() { echo "$1 $2" >>"$results"; }

# check NAME COMMAND…: runs it, counts one result, and goes on either way.
check() {
  local name=$1 code=0 began=$SECONDS
  shift
  headline "$name"
  # Not as a condition: that would switch -e off inside the command.
  set +e
  (set -e; "$@")
  code=$?
  set -e
  if [ $code -eq 0 ]; then count 1 0; else count 0 1; fi
  echo "--- $([ $code -eq 0 ] && echo ok || echo "FAILED ($code)"): $name, $((SECONDS - began)) s"
}

# tests PROJECT: runs a vitest project (half an hour at most) and counts its tests. A runner that ends badly without a failed
# test, a test that is skipped, and a project without tests each count as a failure.
tests() {
  local project=$1 report=$scratch/$1.json code=0 began=$SECONDS
  headline "tests: $project"
  set +e
  timeout -k 30 1800 npm run "test:$project" -- --reporter=default --reporter=json --outputFile.json="$report"
  code=$?
  set -e
  # shellcheck disable=SC2046 # two words
  count $(node .ci/count.mjs "$report" $code || echo 0 1)
  echo "--- tests: $project, exit code $code, $((SECONDS - began)) s"
}

# within SECONDS COMMAND…: repeats the command until it succeeds; fails after that time.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

# apt_install PACKAGE…: as root, or with sudo. No service of a package is started, no PostgreSQL cluster is made.
apt_install() {
  local missing=() package root=()
  for package; do dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q
  # In a container nothing starts; where something manages services, ask it not to.
  "${root[@]}" mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' | "${root[@]}" tee /etc/postgresql-common/createcluster.d/stowhouse.conf >/dev/null
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends "${missing[@]}"
}

# Ends everything, says the totals, and fails if anything did.
finish() {
  local code=$? passed=0 failed=0 p f
  set +e
  trap - EXIT INT TERM
  while read -r p f; do passed=$((passed + p)); failed=$((failed + f)); done <"$results"
  # The driver itself broke: that is a failure too.
  if [ $code -ne 0 ]; then failed=$((failed + 1)); echo "stopped with exit code $code"; fi
  if [ $((passed + failed)) -eq 0 ]; then failed=1; echo "nothing ran"; fi
  rm -rf "$scratch"
  echo
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ]
  exit $?
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
