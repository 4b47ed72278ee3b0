/**
 * Where the chunks of archives are: chunk `id` (SHA-256 of its bytes) is `length` bytes from `start` of the `raw` bytes that
 * the frame `blob` inflates to. A row is written only after the frame was inflated and hashed, and dies with its blob.
 */
export default `
CREATE TABLE chunks (
  cache $TEXT NOT NULL,
  id $BYTES NOT NULL,
  blob $INT NOT NULL,
  start $INT NOT NULL,
  length $INT NOT NULL,
  raw $INT NOT NULL,
  PRIMARY KEY (cache, id)
);
CREATE INDEX chunks_blob ON chunks (blob);
`;
