import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { errors } from "../../core/errors.ts";

/**
 * The messages of the cache service v2 on the wire (github-actions.md §1.2): one shape each, read and written as JSON
 * (`@actions/cache`, BuildKit) and as protobuf (sccache). Fields that aren't listed are skipped; defaults may be left out.
 */
export const SERVICE = "github.actions.results.api.v1.CacheService";

export type Format = "json" | "protobuf";

type Kind = "string" | "strings" | "int64" | "bool";
/** Name → field number and kind. */
type Shape = Readonly<Record<string, readonly [number: number, kind: Kind]>>;
type Value<K extends Kind> = K extends "string" ? string : K extends "strings" ? string[] : K extends "int64" ? number : boolean;
export type Message<S extends Shape> = { -readonly [N in keyof S]: Value<S[N][1]> };

export const REQUESTS = {
  CreateCacheEntry: { key: [2, "string"], version: [3, "string"] },
  FinalizeCacheEntryUpload: { key: [2, "string"], sizeBytes: [3, "int64"], version: [4, "string"] },
  GetCacheEntryDownloadURL: { key: [2, "string"], restoreKeys: [3, "strings"], version: [4, "string"] },
} as const satisfies Record<string, Shape>;

export const RESPONSES = {
  CreateCacheEntry: { ok: [1, "bool"], signedUploadUrl: [2, "string"], message: [3, "string"] },
  FinalizeCacheEntryUpload: { ok: [1, "bool"], entryId: [2, "int64"], message: [3, "string"] },
  GetCacheEntryDownloadURL: { ok: [1, "bool"], signedDownloadUrl: [2, "string"], matchedKey: [3, "string"] },
} as const satisfies Record<string, Shape>;

export type Method = keyof typeof REQUESTS;
export type CacheRequest<M extends Method> = Message<(typeof REQUESTS)[M]>;
export type CacheResponse<M extends Method> = Message<(typeof RESPONSES)[M]>;

/** What a request or answer is written in; undefined for any other content type. */
export function formatOf(contentType: string | undefined): Format | undefined {
  const type = contentType?.split(";", 1)[0]!.trim().toLowerCase();
  return type === "application/json" ? "json" : type === "application/protobuf" ? "protobuf" : undefined;
}

/** @throws badRequest for anything that isn't such a message */
export function decode<S extends Shape>(shape: S, format: Format, bytes: Uint8Array): Message<S> {
  return format === "json" ? decodeJson(shape, bytes) : decodeBinary(shape, bytes);
}

/** Fields left out have their defaults; JSON keeps `ok`, because clients read it. */
export function encode<S extends Shape>(shape: S, format: Format, message: Partial<Message<S>>): string | Uint8Array {
  return format === "json" ? encodeJson(shape, message) : encodeBinary(shape, message);
}

const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function defaults<S extends Shape>(shape: S): Message<S> {
  const empty = { string: () => "", strings: () => [], int64: () => 0, bool: () => false };
  return Object.fromEntries(Object.entries(shape).map(([name, [, kind]]) => [name, empty[kind]()])) as Message<S>;
}

function decodeJson<S extends Shape>(shape: S, bytes: Uint8Array): Message<S> {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    throw errors.badRequest("the body is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw errors.badRequest("the body is not a JSON object");
  const given = json as Record<string, unknown>;
  const message = defaults(shape) as Record<string, unknown>;
  for (const [name, [, kind]] of Object.entries(shape)) {
    const value = given[snake(name)] ?? given[name];
    if (value !== undefined && value !== null) message[name] = fromJson(snake(name), kind, value);
  }
  return message as Message<S>;
}

function fromJson(name: string, kind: Kind, value: unknown): unknown {
  if (kind === "string" && typeof value === "string") return value;
  if (kind === "bool" && typeof value === "boolean") return value;
  if (kind === "strings" && Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
  // The toolkit writes int64 as text, BuildKit as a number.
  if (kind === "int64" && (typeof value === "number" || (typeof value === "string" && /^-?\d{1,19}$/.test(value)))) return integer(name, Number(value));
  throw errors.badRequest(`${name} is not a ${kind}`);
}

function decodeBinary<S extends Shape>(shape: S, bytes: Uint8Array): Message<S> {
  const message = defaults(shape) as Record<string, unknown>;
  const fields = new Map(Object.entries(shape).map(([name, [number, kind]]) => [number, { name, kind }]));
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      const field = fields.get(number);
      const wanted = field?.kind === "int64" || field?.kind === "bool" ? WireType.Varint : WireType.LengthDelimited;
      if (!field || type !== wanted) reader.skip(type, number);
      else if (field.kind === "strings") (message[field.name] as string[]).push(reader.string(true));
      else if (field.kind === "string") message[field.name] = reader.string(true);
      else if (field.kind === "bool") message[field.name] = reader.bool();
      else message[field.name] = integer(snake(field.name), Number(reader.int64()));
    }
  } catch (error) {
    throw errors.badRequest("the body is not such a protobuf message", { cause: error });
  }
  return message as Message<S>;
}

function integer(name: string, value: number): number {
  if (!Number.isSafeInteger(value)) throw errors.badRequest(`${name} is not an integer below 2^53`);
  return value;
}

function encodeJson<S extends Shape>(shape: S, message: Partial<Message<S>>): string {
  const json: Record<string, unknown> = {};
  for (const [name, [, kind]] of Object.entries(shape)) {
    const value = message[name];
    if (value !== undefined) json[snake(name)] = kind === "int64" ? String(value) : value;
  }
  return JSON.stringify(json);
}

function encodeBinary<S extends Shape>(shape: S, message: Partial<Message<S>>): Uint8Array {
  const writer = new BinaryWriter();
  for (const [name, [number, kind]] of Object.entries(shape)) {
    const value = message[name] as unknown;
    if (kind === "strings") for (const one of (value ?? []) as string[]) writer.tag(number, WireType.LengthDelimited).string(one);
    if (kind === "string" && value) writer.tag(number, WireType.LengthDelimited).string(value as string);
    if (kind === "bool" && value) writer.tag(number, WireType.Varint).bool(true);
    if (kind === "int64" && value) writer.tag(number, WireType.Varint).int64(value as number);
  }
  return writer.finish();
}
