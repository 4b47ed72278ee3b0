/**
 * One shape for SQLite and PostgreSQL; each driver fills in $ID, $INT, $TEXT and $BYTES with its own types.
 * Text compares bytewise everywhere (prefix search depends on it). Times are milliseconds, sizes bytes, flags 0 or 1.
 */
export default `
CREATE TABLE entries (
  id $ID,
  cache $TEXT NOT NULL,
  keyspace $TEXT NOT NULL,
  scope $TEXT NOT NULL,
  key $TEXT NOT NULL,
  version $TEXT NOT NULL,
  size $INT NOT NULL,
  digest $TEXT,
  blob $INT,
  metadata $TEXT,
  trusted $INT NOT NULL,
  created $INT NOT NULL,
  accessed $INT NOT NULL,
  expires $INT
);
CREATE UNIQUE INDEX entries_name ON entries (cache, keyspace, scope, version, key);
CREATE INDEX entries_eviction ON entries (cache, trusted, accessed);
CREATE INDEX entries_expiry ON entries (expires) WHERE expires IS NOT NULL;
CREATE INDEX entries_blob ON entries (blob) WHERE blob IS NOT NULL;

CREATE TABLE entry_parts (
  entry $INT NOT NULL,
  seq $INT NOT NULL,
  blob $INT NOT NULL,
  PRIMARY KEY (entry, seq)
);
CREATE INDEX entry_parts_blob ON entry_parts (blob);

-- refs counts rows of entries, entry_parts and upload_parts; orphaned is when it became 0.
CREATE TABLE blobs (
  id $ID,
  cache $TEXT NOT NULL,
  digest $TEXT NOT NULL,
  size $INT NOT NULL,
  store $TEXT,
  name $TEXT,
  refs $INT NOT NULL,
  orphaned $INT
);
CREATE UNIQUE INDEX blobs_digest ON blobs (cache, digest);
CREATE INDEX blobs_orphaned ON blobs (orphaned) WHERE orphaned IS NOT NULL;
CREATE INDEX blobs_name ON blobs (store, name) WHERE store IS NOT NULL;

CREATE TABLE blob_bytes (
  blob $INT PRIMARY KEY,
  bytes $BYTES NOT NULL
);

CREATE TABLE uploads (
  id $TEXT PRIMARY KEY,
  number $INT NOT NULL,
  cache $TEXT NOT NULL,
  keyspace $TEXT NOT NULL,
  scope $TEXT NOT NULL,
  key $TEXT NOT NULL,
  version $TEXT NOT NULL,
  actor $TEXT NOT NULL,
  trusted $INT NOT NULL,
  metadata $TEXT,
  created $INT NOT NULL,
  expires $INT NOT NULL
);
CREATE UNIQUE INDEX uploads_name ON uploads (cache, keyspace, scope, version, key);
CREATE UNIQUE INDEX uploads_number ON uploads (number);
CREATE INDEX uploads_expiry ON uploads (expires);

CREATE TABLE upload_parts (
  upload $TEXT NOT NULL,
  name $TEXT NOT NULL,
  position $INT NOT NULL,
  blob $INT NOT NULL,
  size $INT NOT NULL,
  PRIMARY KEY (upload, name)
);
CREATE INDEX upload_parts_blob ON upload_parts (blob);

CREATE TABLE usage (
  cache $TEXT NOT NULL,
  keyspace $TEXT NOT NULL,
  trusted $INT NOT NULL,
  slot $INT NOT NULL,
  entries $INT NOT NULL,
  bytes $INT NOT NULL,
  PRIMARY KEY (cache, keyspace, trusted, slot)
);

CREATE TABLE keys (
  id $TEXT PRIMARY KEY,
  hash $TEXT NOT NULL,
  name $TEXT NOT NULL,
  permission $TEXT NOT NULL,
  caches $TEXT NOT NULL,
  scope $TEXT,
  reads $TEXT,
  trusted $INT NOT NULL,
  public $INT NOT NULL,
  created $INT NOT NULL,
  expires $INT,
  used $INT,
  revoked $INT
);
CREATE UNIQUE INDEX keys_hash ON keys (hash);

-- kind is 'run' (a GitHub run id) or 'session' (a jti); rows go when the last token they name has expired.
CREATE TABLE revocations (
  kind $TEXT NOT NULL,
  value $TEXT NOT NULL,
  until $INT NOT NULL,
  PRIMARY KEY (kind, value)
);

CREATE TABLE secrets (
  name $TEXT PRIMARY KEY,
  value $TEXT NOT NULL,
  created $INT NOT NULL
);

CREATE TABLE caches (
  name $TEXT PRIMARY KEY,
  settings $TEXT NOT NULL,
  created $INT NOT NULL,
  updated $INT NOT NULL
);

CREATE TABLE leases (
  name $TEXT PRIMARY KEY,
  holder $TEXT NOT NULL,
  until $INT NOT NULL
);

-- Rows are pruned in the order of their ids, which is the order of their times.
CREATE TABLE audit (
  id $SEQ,
  at $INT NOT NULL,
  actor $TEXT NOT NULL,
  action $TEXT NOT NULL,
  cache $TEXT NOT NULL,
  keyspace $TEXT NOT NULL,
  scope $TEXT NOT NULL,
  key $TEXT NOT NULL,
  size $INT NOT NULL,
  result $TEXT NOT NULL,
  address $TEXT NOT NULL
);

CREATE TABLE stats (
  day $INT NOT NULL,
  cache $TEXT NOT NULL,
  keyspace $TEXT NOT NULL,
  name $TEXT NOT NULL,
  value $INT NOT NULL,
  PRIMARY KEY (day, cache, keyspace, name)
);
`;
