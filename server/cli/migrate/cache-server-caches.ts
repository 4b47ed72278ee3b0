import { Misfit, type Draft } from "./draft.ts";
import { storagesOf, type Storages } from "./cache-server-storages.ts";
import type { Theirs } from "./theirs.ts";
import { address, FOR_EVER, nameLike, text, UNLIMITED, whole } from "./values.ts";

/** Fields of a cache, and where they are read. */
const KNOWN = ["name", "retention", "port", "access", "storage-strategy", "storages"];
const STRATEGIES = ["in-order", "round-robin", "split", "least-used"];
/** Days that cache-server keeps a path when nothing says for how long. */
const RETENTION = 4;
/** Its port, likewise. */
const PORT = 8080;
const LONGEST = Number.parseInt(FOR_EVER, 10);

/** Its caches, each with a section of ours. */
export function caches(value: unknown, draft: Draft, theirs: Theirs): void {
  if (!Array.isArray(value)) throw new Misfit("expected a list");
  const storages: Storages = new Map();
  for (const [index, item] of value.entries()) {
    const at = `caches[${index}]`;
    if (typeof item !== "object" || item === null) draft.drop(at, "expected a cache");
    else attempt(at, draft, () => one(item as Record<string, unknown>, at, storages, draft, theirs));
  }
}

function one(cache: Record<string, unknown>, at: string, storages: Storages, draft: Draft, theirs: Theirs): void {
  const given = text(cache["name"]);
  const name = nameLike(given);
  const ours = ["caches", name];
  if (draft.has(ours)) throw new Misfit(`there is another cache called ${name}`);
  if (name !== given) draft.todo(`cache ${given}`, `it is called ${name} now`);
  draft.set([...ours, "quota"], UNLIMITED, "it had none; eviction.minFree keeps some of the disk free");
  attempt(`${at}.retention`, draft, () => retention(cache["retention"] ?? theirs.get("server.default-retention") ?? RETENTION, ours, draft));
  attempt(`${at}.access`, draft, () => access(cache["access"] ?? "public", ours, draft));
  attempt(`${at}.port`, draft, () => port(cache["port"] ?? theirs.get("server.default-port") ?? PORT, name, draft, theirs));
  draft.set(["protocols", "nix", "caches", name, "sources"], ["*"], "what it has not is looked for in the other public caches");
  if (Array.isArray(cache["storages"])) {
    attempt(`${at}.storage-strategy`, draft, () => placement(cache, ours, draft, theirs, storagesOf(cache["storages"] as unknown[], name, at, storages, draft)));
  }
  draft.todo(`signing key of ${given}`, `for clients to go on with the public key they know, put the content of key.priv, which lies in its first storage, into protocols.nix.caches.${name}.signingKeys`);
  for (const field of Object.keys(cache)) if (!KNOWN.includes(field)) draft.drop(`${at}.${field}`, "no such setting is known here");
}

/** Each cache has a port there; two that would have the same one can't. */
function port(value: unknown, cache: string, draft: Draft, theirs: Theirs): void {
  const listen = address(String(theirs.get("server.hostname") ?? "localhost"), value);
  const sections = draft.value as { listen?: string; protocols?: { nix?: { caches?: Record<string, { listen?: string }> } } };
  const taken = [sections.listen, ...Object.values(sections.protocols?.nix?.caches ?? {}).map((one) => one.listen)];
  if (taken.includes(listen)) throw new Misfit(`${listen} is taken; the cache is at /nix/${cache} of the server's own port`);
  draft.set(["protocols", "nix", "caches", cache, "listen"], listen, "port");
}

function retention(days: unknown, ours: string[], draft: Draft): void {
  const number = whole(days, 0, LONGEST);
  draft.set([...ours, "retention"], `${Math.max(number, 1)}d`, "since its last use, not since it was made");
}

function access(value: unknown, ours: string[], draft: Draft): void {
  if (value !== "public" && value !== "private") throw new Misfit("expected public or private");
  draft.set([...ours, "anonymousRead"], value === "public", `access: ${value}`);
}

function placement(cache: Record<string, unknown>, ours: string[], draft: Draft, theirs: Theirs, storages: ReadonlyMap<string, number | undefined>): void {
  if (storages.size === 0) return;
  draft.set([...ours, "storages"], [...storages.keys()]);
  const strategy = text(cache["storage-strategy"] ?? theirs.get("server.default-storage-strategy") ?? "in-order");
  if (!STRATEGIES.includes(strategy)) throw new Misfit(`expected one of ${STRATEGIES.join(", ")}`);
  const shares = [...storages].map(([name, share]) => [name, share ?? 0] as const);
  if (strategy === "split" && !shares.some(([, share]) => share > 0)) throw new Misfit("split needs the field split of its storages");
  draft.set([...ours, "placement"], strategy, "storage-strategy");
  if (strategy === "split") for (const [name, share] of shares) draft.set([...ours, "shares", name], share);
}

function attempt(setting: string, draft: Draft, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    draft.drop(setting, error.message);
  }
}
