import type { TUnsafe } from "typebox";
import { integer, map, oneOf, optional, section } from "../../../server/config/fields.ts";
import { immutable, named, objectName, presence, quantity, ruled, secretKey, serverFields, string, strings, type Settings } from "../../fields.ts";

const optionalStaysAsItIs = (name: string) => ({
  rule: `has(self.${name}) == has(oldSelf.${name}) && (!has(self.${name}) || self.${name} == oldSelf.${name})`,
  message: `${name} can't be changed: a claim keeps it for life`,
  fieldPath: `.${name}`,
});

const PersistentVolume = ruled(
  section("The volume at /data: the index unless it is in PostgreSQL, and the blobs unless they are in S3. Not used with S3 and PostgreSQL.", {
    size: ruled(quantity({ default: "50Gi", description: "Size of the volume; it may grow, where its class allows that. The server keeps 5 % of it free, whatever the quotas say." }), {
      rule: "quantity(self).compareTo(quantity(oldSelf)) >= 0",
      message: "a volume can't shrink",
    }),
    storageClassName: optional(string({ description: "Storage class. Default: the cluster's." })),
    accessMode: immutable(
      oneOf(["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"], { default: "ReadWriteOnce", description: "Who may mount the volume; several replicas need ReadWriteMany." }),
      "accessMode can't be changed: a claim keeps it for life",
    ),
    existingClaim: optional(objectName({ description: "A PersistentVolumeClaim of yours, used as it is and never changed. Default: one is made, with the name of this resource." })),
    labels: optional(strings({ description: "Further labels of the claim." })),
    annotations: optional(strings({ description: "Annotations of the claim." })),
  }),
  optionalStaysAsItIs("storageClassName"),
  { rule: "has(self.existingClaim) == has(oldSelf.existingClaim)", message: "existingClaim can't be added or removed: the entries would be left behind", fieldPath: ".existingClaim" },
);

const SECRETS = ["accessKeyId", "secretAccessKey", "sessionToken"];

const S3 = presence("A bucket of S3 or of a server that speaks its protocol.", {
  ...serverFields("storages.<name>.s3", [...SECRETS, "bucket"]),
  bucket: serverFields("storages.<name>.s3")["bucket"] as TUnsafe<string>,
  endpoint: optional(serverFields("storages.<name>.s3")["endpoint"] as TUnsafe<string>),
  credentialsSecret: optional(section("Secret with an access key. Default: what the pod's service account gets from the cloud.", {
    name: objectName({ description: "Name of the Secret." }),
    accessKeyIdKey: secretKey({ default: "accessKeyId", description: "Its field with the id of the access key." }),
    secretAccessKeyKey: secretKey({ default: "secretAccessKey", description: "Its field with the secret of the access key." }),
  })),
  redirect: serverFields("storages.<name>")["redirect"] as TUnsafe<boolean>,
  readCache: section("Copies on the pod's disk of what was read lately. Downloads that are redirected don't pass it.", {
    size: serverFields("storages.<name>.readCache")["size"] as TUnsafe<string>,
  }),
});

export const Storage = ruled(
  section("Where the entries' bodies are kept.", {
    type: immutable(oneOf(["PersistentVolume", "S3"], { default: "PersistentVolume", description: "On a volume, or in a bucket." }), "storage.type can't be changed: the entries would be left behind"),
    persistentVolume: PersistentVolume,
    s3: S3,
    deletionPolicy: oneOf(["Retain", "Delete"], { default: "Retain", description: "What becomes of the claim when this resource is deleted. A bucket is always kept." }),
  }),
  { rule: "(self.type == 'S3') == has(self.s3)", message: "type S3 needs s3, and only type S3 has it", fieldPath: ".s3" },
);

export const Database = ruled(
  section("The index of all entries.", {
    type: immutable(oneOf(["SQLite", "PostgreSQL"], { default: "SQLite", description: "SQLite needs nothing; several replicas need PostgreSQL." }), "database.type can't be changed: the entries would be left behind"),
    urlSecret: optional(section("Only with type PostgreSQL: Secret with the database's URL.", {
      name: objectName({ description: "Name of the Secret." }),
      key: secretKey({ default: "url", description: "Its field with postgres://user:password@host:5432/database." }),
    })),
    port: integer(1, 65_535, { default: 5432, description: "Only with type PostgreSQL: the port in that URL, which the network policy opens." }),
    maxConnections: integer(1, 1000, { default: 10, description: "Only with type PostgreSQL: connections each replica opens at most." }),
  }),
  { rule: "(self.type == 'PostgreSQL') == has(self.urlSecret)", message: "type PostgreSQL needs urlSecret, and only type PostgreSQL has it", fieldPath: ".urlSecret" },
);

/** A server of ours has one storage, so a cache has no choice among several. */
const Cache = section("A tenant of the server: who uses one cache sees nothing of another.", serverFields("caches.<name>", ["storages", "placement", "shares"]));

export const Caches = named(map(Cache, { default: { default: {} }, description: "Caches by name; the one named default always exists. Changes are taken over without a restart." }), 200) as unknown as TUnsafe<Record<string, Settings>>;

