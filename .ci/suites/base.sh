# What a newcomer does on a machine with git, Node, npm, Python and a C compiler, and what a change must pass.

# npm start in this directory, on a free port: it prints its URL, answers, and is gone after SIGTERM.
probe_start() {
  local data log group url
  data=$(mktemp -d "$scratch/start.XXXX")
  log=$data/log
  # Job control gives it a process group of its own, so that what npm starts is ended with it.
  : >"$log"
  set -m
  STOWHOUSE_LISTEN=127.0.0.1:0 STOWHOUSE_DATA=$data npm start >"$log" 2>&1 &
  set +m
  group=$!
  trap "kill -KILL -- -$group 2>/dev/null || true" EXIT
  within 30 settled "$group" "$log" || true
  cat "$log"
  url=$(sed -n 's/^Stowhouse serves \(http[^ ]*\)$/\1/p' "$log")
  [ -n "$url" ] || { echo "npm start printed no URL"; return 1; }
  node -e 'fetch(process.argv[1], { signal: AbortSignal.timeout(5000) }).then((answer) => process.exit(answer.ok ? 0 : 1))' "$url/livez"
  kill -TERM -- "-$group"
  within 15 gone "$group" || { echo "still there 15 s after SIGTERM"; return 1; }
}
settled() { grep -q '^Stowhouse serves http' "$2" || gone "$1"; }
gone() { ! kill -0 -- "-$1" 2>/dev/null; }

# probe_npm VERSION: npm ci and npm start with another npm, in a copy of what is committed.
probe_npm() {
  local copy=$scratch/npm$1 node24=
  # npm 12 doesn't support Node 20.
  [ "$1" -lt 12 ] || node24=$PWD/node_modules/node/bin:
  mkdir -p "$copy"
  npm install --silent --prefix "$scratch/with-npm$1" "npm@$1"
  git archive HEAD | tar -x -C "$copy"
  cd "$copy"
  PATH=$scratch/with-npm$1/node_modules/.bin:$node24$PATH
  echo "npm $(npm --version), node $(node --version)"
  # The first npm ci has fetched everything already.
  npm ci --prefer-offline
  npm exec -- node --version | grep '^v24\.'
  probe_start
  rm -rf "$copy"
}

# The RUN steps of the Dockerfile's build stage, in a directory that holds only what it copies.
probe_image() {
  local copy=$scratch/image node24=$PWD/node_modules/node/bin step
  mkdir -p "$copy"
  sed -n '/ AS build$/,/^FROM /s/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile | tr ' ' '\n' | xargs -I{} cp -r --parents {} "$copy/"
  while read -r step; do
    echo "$step"
    (cd "$copy" && PATH=$node24:$PATH bash -ec "$step")
  done < <(sed -n '/ AS build$/,/^FROM /s/^RUN //p' Dockerfile)
  test -s "$copy/build/server.mjs" && test -s "$copy/build/sqlite-worker.mjs"
}

check "npm ci" npm ci
check "types" npm run check:types
check "lint" npm run check:lint
check "unused files, exports and dependencies" npm run check:unused
check "generated files are fresh" npm run check:generated
check "npm start serves and stops" probe_start
for version in 10 11 12; do check "npm $version installs and starts it" probe_npm "$version"; done
tests unit
tests process
check "the Dockerfile's build steps" probe_image
