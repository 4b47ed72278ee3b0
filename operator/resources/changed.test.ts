import { expect, test } from "vitest";
import { resolveConfig } from "../../server/config.ts";
import type { Field } from "../../server/config/fields.ts";
import { ConfigSchema } from "../../server/config/schema.ts";
import { withDefaults } from "../testing/stored.ts";
import { changed } from "./changed.ts";

const schema = ConfigSchema as Field;

test.each([
  {},
  { log: { level: "warn" }, limits: { entrySize: "1GiB" } },
  { caches: { default: {}, mobile: {}, web: { quota: "1GiB", anonymousRead: true } } },
  { storages: { default: { type: "s3", s3: { bucket: "b", pathStyle: true }, readCache: { size: "1GiB" } } } },
  { url: "https://cache.example.com", auth: { github: { rules: [{ repositoryId: 1 }, { repositoryOwnerId: 2, cache: "mobile", trustedRefs: [] }] } } },
])("%j says the same with all defaults and with none", (written) => {
  const full = withDefaults(schema, written);
  const short = changed(schema, full) ?? {};
  expect(resolveConfig(short)).toEqual(resolveConfig(full));
  expect(short).toEqual(changed(schema, short) ?? {});
  expect(JSON.stringify(short).length).toBeLessThanOrEqual(JSON.stringify(written).length);
});

test("a cache that is as all others are is still there", () => {
  expect(changed(schema, withDefaults(schema, { caches: { mobile: {} } }))).toEqual({ caches: { mobile: {} } });
});

test("what has no default is said", () => {
  expect(changed(schema, { url: "http://a" })).toEqual({ url: "http://a" });
  expect(changed({ type: "object", properties: {} }, { unknown: 1 })).toEqual({ unknown: 1 });
});
