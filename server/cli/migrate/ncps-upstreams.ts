import type { Draft } from "./draft.ts";
import { Misfit } from "./draft.ts";
import type { Theirs } from "./theirs.ts";
import { freeName, goDuration, list, nameLike, publicKey, text } from "./values.ts";

const KEYS = "cache.upstream.public-keys";
const UPSTREAMS = ["protocols", "nix", "caches", "default", "upstreams"];
/** Of the first one; each that follows has one more, as they are listed in the order in which they are wanted. */
const PRIORITY = 40;
/** ms; the bounds of our own settings. */
const [LEAST, LONGEST] = [10, 3_600_000];

/** ncps's upstreams, each with those keys that carry its host's name, as ncps itself gives them out. */
export function upstreams(setting: string, draft: Draft, theirs: Theirs): void {
  const keys = keysOf(draft, theirs);
  const used = new Set<string>();
  const timeouts = timeoutsOf(draft, theirs);
  const netrc = theirs.get("cache.netrc-file");
  for (const [index, given] of list(theirs.get(setting)).entries()) {
    if (!/^https?:\/\//.test(given) || !URL.canParse(given)) {
      draft.drop(setting, `"${given}" is no URL of a server`);
      continue;
    }
    const url = new URL(given);
    const priority = Number(url.searchParams.get("priority") ?? PRIORITY + index);
    if (url.password !== "" || url.username !== "") draft.todo(`upstream ${url.host}`, "set credentials.username and password: a URL of ours carries none");
    const own = keys.filter((key) => new RegExp(`^${RegExp.escape(url.hostname)}-\\d+:`).test(key));
    own.forEach((key) => used.add(key));
    if (own.length === 0) {
      draft.drop(setting, `${url.host}: none of the public keys is called like it`);
      draft.todo(`upstream ${url.host}`, `find its public key, and add it under ${UPSTREAMS.join(".")}: nothing is taken from anybody whose signatures can't be verified`);
      continue;
    }
    const at = [...UPSTREAMS, freeName(nameLike(url.host), (name) => draft.has([...UPSTREAMS, name]))];
    draft.set([...at, "url"], `${url.origin}${url.pathname}`.replace(/\/$/, ""));
    draft.set([...at, "priority"], Number.isSafeInteger(priority) && priority >= 0 ? priority : PRIORITY + index);
    draft.set([...at, "trustedKeys"], own);
    for (const [field, value] of timeouts) draft.set([...at, field], value);
    if (netrc !== undefined) draft.set([...at, "credentials", "netrc"], text(netrc), "cache.netrc-file; must be there, with or without this host");
  }
  const idle = keys.filter((key) => !used.has(key));
  if (idle.length > 0) draft.drop(KEYS, `no upstream is called like ${idle.map((key) => key.split(":", 1)[0]).join(", ")}`);
}

function keysOf(draft: Draft, theirs: Theirs): string[] {
  return list(theirs.get(KEYS) ?? []).flatMap((key) => attempt(KEYS, draft, () => publicKey(key)));
}

function timeoutsOf(draft: Draft, theirs: Theirs): [field: string, value: string][] {
  const pairs = [["cache.upstream.dialer-timeout", "connectTimeout"], ["cache.upstream.response-header-timeout", "firstByteTimeout"]] as const;
  return pairs.flatMap(([setting, field]) => {
    const value = theirs.get(setting);
    return value === undefined ? [] : attempt(setting, draft, (): [string, string] => [field, goDuration(value, LEAST, LONGEST)]);
  });
}

/** What was made, or nothing when it could not be. */
function attempt<T>(setting: string, draft: Draft, make: () => T): T[] {
  try {
    return [make()];
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    draft.drop(setting, error.message);
    return [];
  }
}
