/**
 * Which entries others need: what is needed is held, and eviction leaves it alone until nobody needs it. A mark stands for a
 * name, whether there is an entry of it or not yet; its row in `marks` counts who needs it, and is what writers of both sides
 * lock. Only entries that need others, or that were needed when they came or since, have one.
 */
export default `
CREATE TABLE needs (
  entry $INT NOT NULL,
  mark $INT NOT NULL,
  PRIMARY KEY (entry, mark)
);
CREATE INDEX needs_mark ON needs (mark);
CREATE TABLE marks (
  mark $INT PRIMARY KEY,
  refs $INT NOT NULL
);
ALTER TABLE entries ADD COLUMN mark $INT;
ALTER TABLE entries ADD COLUMN held $INT NOT NULL DEFAULT 0;
CREATE INDEX entries_mark ON entries (mark) WHERE mark IS NOT NULL;
DROP INDEX entries_eviction;
CREATE INDEX entries_eviction ON entries (cache, trusted, held, accessed);
`;
