import path from "node:path";
import { Misfit, type Draft } from "./draft.ts";
import { freeName, nameLike, text, whole } from "./values.ts";

/** Names of ours by place: ours belong to the server, theirs to each cache, and two caches may name the same one. */
export type Storages = Map<string, string>;

const COMMON = ["name", "type", "root", "split"];

/**
 * A cache's storages, with their shares (percent) where they have some. What can't be one of ours is dropped.
 * @param cache its name @param at its place in the file
 */
export function storagesOf(list: readonly unknown[], cache: string, at: string, known: Storages, draft: Draft): Map<string, number | undefined> {
  const names = new Map<string, number | undefined>();
  for (const [index, item] of list.entries()) {
    const here = `${at}.storages[${index}]`;
    try {
      if (typeof item !== "object" || item === null) throw new Misfit("expected a storage");
      const storage = item as Record<string, unknown>;
      const share = storage["split"] === undefined ? undefined : whole(storage["split"], 0, 1000);
      names.set(nameOf(storage, cache, here, known, draft), share);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      draft.drop(here, error.message);
    }
  }
  return names;
}

function nameOf(storage: Record<string, unknown>, cache: string, at: string, known: Storages, draft: Draft): string {
  const { place, settings, fields } = storage["type"] === "s3" ? bucket(storage) : directory(storage);
  for (const field of Object.keys(storage)) if (!COMMON.includes(field) && !fields.includes(field)) draft.drop(`${at}.${field}`, "no such setting is known here");
  const before = known.get(place);
  if (before !== undefined) return before;
  const wanted = nameLike(text(storage["name"]));
  const taken = (name: string) => draft.has(["storages", name]);
  const name = taken(wanted) ? freeName(nameLike(`${cache}-${wanted}`), taken) : wanted;
  for (const [field, value] of Object.entries(settings)) {
    if (typeof value === "object") for (const [inner, own] of Object.entries(value)) draft.set(["storages", name, field, inner], own);
    else draft.set(["storages", name, field], value);
  }
  known.set(place, name);
  return name;
}

interface Found {
  /** What makes two of them the same one. */
  readonly place: string;
  readonly settings: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly fields: readonly string[];
}

function directory(storage: Record<string, unknown>): Found {
  if (storage["type"] !== "local") throw new Misfit("expected type local or s3");
  const directory = path.join(text(storage["root"]), "stowhouse");
  return { place: directory, settings: { type: "filesystem", path: directory }, fields: [] };
}

/** Its names are written with `_` in its documentation and with `-` in what reads them. */
function bucket(storage: Record<string, unknown>): Found {
  const accessKey = Object.hasOwn(storage, "s3_access-key") ? "s3_access-key" : "s3_access_key";
  const secretKey = Object.hasOwn(storage, "s3_secret-key") ? "s3_secret-key" : "s3_secret_key";
  const root = text(storage["root"]).replace(/^[./]+|\/+$/g, "");
  const s3 = {
    bucket: text(storage["s3_bucket"]), region: text(storage["s3_region"]), prefix: root === "" ? "stowhouse" : `${root}/stowhouse`,
    accessKeyId: text(storage[accessKey]), secretAccessKey: text(storage[secretKey]),
  };
  return { place: `s3 ${s3.region} ${s3.bucket} ${s3.prefix}`, settings: { type: "s3", s3 }, fields: ["s3_bucket", "s3_region", accessKey, secretKey] };
}
