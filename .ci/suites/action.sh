# The GitHub Action: whole workflows under act, the daemon on the runner, and what is committed in dist.

check "npm ci" npm ci
check "tools" npm run test:tools -- action
check "dist is what the sources give" npx vitest run --project process test/process/action-dist.test.ts
tests action
