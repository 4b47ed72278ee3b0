import { expect, test } from "vitest";
import { cacheServer } from "../testing/stored.ts";
import { someInputs } from "../testing/inputs.ts";
import { volumeClaim } from "./volume.ts";

const claim = (storage: object = {}, database: object = {}) => volumeClaim(cacheServer({ storage, database }), someInputs());

test("a claim outlives its resource unless that says otherwise", () => {
  expect(claim()!.metadata.ownerReferences).toBeUndefined();
  expect(claim({ deletionPolicy: "Delete" })!.metadata.ownerReferences).toEqual([expect.objectContaining({ kind: "CacheServer", name: "cache", controller: true })]);
});

test("a claim is as large as wanted, of the class and with the words of the resource", () => {
  const { spec, metadata } = claim({ persistentVolume: { size: "1Ti", storageClassName: "fast", accessMode: "ReadWriteMany", labels: { backup: "yes" }, annotations: { note: "x" } } }) as unknown as { spec: object; metadata: object };
  expect(spec).toEqual({ accessModes: ["ReadWriteMany"], storageClassName: "fast", resources: { requests: { storage: "1Ti" } } });
  expect(metadata).toMatchObject({ name: "cache", labels: { backup: "yes" }, annotations: { note: "x" } });
  expect(claim()!["spec"]).toEqual({ accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "50Gi" } } });
});

test("there is none where the user brings one, nor where nothing is kept on it", () => {
  const s3 = { type: "S3", s3: { bucket: "b" } };
  const postgres = { type: "PostgreSQL", urlSecret: { name: "database" } };
  expect(claim({ persistentVolume: { existingClaim: "old" } })).toBeUndefined();
  expect(claim(s3, postgres)).toBeUndefined();
  expect(claim(s3)).toBeDefined();
  expect(claim({}, postgres)).toBeDefined();
});
