import type { RecordedRequest } from "../fixtures/recorded/request.ts";
import type { Random } from "../fixtures/random.ts";

/** What is put where a client would put something sensible. */
const WORDS = [
  "", " ", ".", "..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "%00", "%", "%zz", "%ff%fe", "%c0%ae%c0%ae", "\\..\\", "//", "a/b", "null", "undefined", "NaN", "true",
  "-1", "0", "1", "2", "99999999999999999999", "9007199254740993", "1e309", "0x10", "*", "'", "\"", "' OR 1=1 --", "${jndi:x}", "<x>", "__proto__", "constructor", "%F0%9F%98%80", "a".repeat(600), "a".repeat(5_000),
  "recorded", "foreign-", "local:main", "77:refs/heads/main", "other", "\u202e", "\ud83d",
];
const VALUES: readonly unknown[] = [null, true, false, 0, -1, 1.5, 1e300, "", "x", "a".repeat(600), "foreign-", [], [[]], ["a", 1], {}, { a: 1 }, "\u0000", "\ud800", 2 ** 53, "18446744073709551616"];
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const HEADERS: readonly (readonly [string, string])[] = [
  ["range", "bytes=0-"], ["range", "bytes=5-2"], ["range", "bytes=-0"], ["range", "bytes=99999999999-"], ["range", "bytes=0-1,3-4"], ["range", "lines=1"], ["x-ms-range", "bytes=1-1"], ["if-none-match", "*"], ["if-none-match", '"x", W/"y"'],
  ["if-range", "x"], ["content-range", "bytes 0-99/*"], ["content-range", "bytes 9-1/*"], ["content-range", "x"], ["x-ms-blob-type", "PageBlob"], ["content-type", "text/plain"], ["content-type", "application/json"],
  ["content-type", "application/protobuf"], ["content-type", "multipart/form-data"], ["content-type", 'multipart/form-data; boundary="'], ["content-type", ""], ["content-encoding", "gzip"], ["accept", "x/y"],
  ["x-forwarded-for", "10.0.0.1"], ["x-forwarded-proto", "https"], ["x-forwarded-host", "evil.example"], ["host", "evil.example"], ["host", "a b"], ["x-http-method-override", "DELETE"], ["cookie", "a=b"], ["transfer-encoding", "chunked"],
];

const BRACE = 0x7b;

type Mutation = (request: RecordedRequest, random: Random) => RecordedRequest;

/**
 * A request like this one with one to three things wrong. What decides whether it gets past routing and authentication (method,
 * path before its last segment, Authorization) is changed less often than what is looked at afterwards.
 */
export function mutate(request: RecordedRequest, random: Random): RecordedRequest {
  let mutated = request;
  for (let i = random.pick([1, 1, 2, 3]); i > 0; i--) mutated = choose(mutated, random)(mutated, random);
  return mutated;
}

function choose({ body, path }: RecordedRequest, random: Random): Mutation {
  const choices: [number, Mutation][] = [
    [3, changeHeader], [1, changeMethod], [1, changeSegment], [5, changeLastSegment], [1, changeAuthorization],
    [path.includes("?") ? 6 : 1, changeQuery], [body ? 12 : 0, changeBody], [body ? 3 : 0, tamper],
  ];
  let at = random.next() * choices.reduce((sum, [weight]) => sum + weight, 0);
  return choices.find(([weight]) => (at -= weight) < 0)![1];
}

const changeMethod: Mutation = (request, random) => ({ ...request, method: random.pick(METHODS) });

const changeHeader: Mutation = (request, random) => {
  const names = Object.keys(request.headers).filter((name) => name !== "authorization");
  if (names.length > 0 && random.chance(0.3)) {
    const { [random.pick(names)]: _, ...headers } = request.headers;
    return { ...request, headers };
  }
  const [name, value] = random.pick(HEADERS);
  return { ...request, headers: { ...request.headers, [name]: value } };
};

const changeAuthorization: Mutation = (request, random) => {
  const { authorization = "", ...headers } = request.headers;
  const value = random.pick([undefined, "", "Bearer", "Bearer  ", `${authorization}x`, authorization.slice(0, -1), `Basic ${Buffer.from("a:b").toString("base64")}`, "Basic %%%", authorization.toLowerCase(), `Bearer ${"a".repeat(9_000)}`, "Bearer a.b.c"]);
  return { ...request, headers: value === undefined ? headers : { ...headers, authorization: value } };
};

function splitPath(path: string): { segments: string[]; query: string } {
  const at = path.indexOf("?");
  const [before, query] = at === -1 ? [path, ""] : [path.slice(0, at), path.slice(at)];
  return { segments: before.split("/"), query };
}

function changeText(text: string, random: Random): string {
  const at = random.int(0, text.length);
  switch (random.int(0, 4)) {
    case 0: return random.pick(WORDS);
    case 1: return text + random.pick(WORDS);
    case 2: return text.slice(0, at) + random.pick(WORDS) + text.slice(at);
    case 3: return text.slice(0, at) + text.slice(at + 1);
    default: return text.slice(0, at) + `%${random.int(0, 255).toString(16).padStart(2, "0")}` + text.slice(at);
  }
}

/** No character that can't stand in a request line, so that the request gets further than the parser. */
const encodable = (text: string) => text.replaceAll(/[^\x21-\x7e]/gu, (character) => (character.isWellFormed() ? encodeURIComponent(character) : "%ED%A0%BD"));

const changeSegment: Mutation = (request, random) => {
  const { segments, query } = splitPath(request.path);
  const at = random.int(1, segments.length - 1);
  if (random.chance(0.2)) segments.splice(at, random.int(0, 1), random.pick(WORDS));
  else segments[at] = changeText(segments[at]!, random);
  return { ...request, path: encodable(segments.join("/")) + query };
};

const changeLastSegment: Mutation = (request, random) => {
  const { segments, query } = splitPath(request.path);
  segments.push(changeText(segments.pop()!, random));
  return { ...request, path: encodable(segments.join("/")) + query };
};

const changeQuery: Mutation = (request, random) => {
  const { segments, query } = splitPath(request.path);
  const pairs = query.slice(1).split("&").filter((pair) => pair !== "");
  const at = random.int(0, Math.max(pairs.length - 1, 0));
  const name = pairs[at]?.split("=", 1)[0] ?? "";
  // A signature dies of the least change, so others are changed more often.
  const kind = name === "sig" || name === "se" ? random.pick([0, 1, 1, 1, 2, 3]) : random.int(0, 4);
  if (kind === 0) pairs.splice(at, 1);
  else if (kind === 1) pairs.push(`${random.pick(["comp", "blockid", "limit", "before", "keys", "version", "x", "__proto__"])}=${random.pick(WORDS)}`);
  else if (kind === 2) pairs.push(pairs[at] ?? "=");
  else if (kind === 3) return { ...request, path: `${segments.join("/")}?${encodable(random.shuffle(pairs).join("&"))}` };
  else pairs[at] = changeText(pairs[at] ?? "", random);
  return { ...request, path: encodable(`${segments.join("/")}?${pairs.join("&")}`) };
};

/** By what the body says it is: fields of JSON; bytes of protobuf, forms and XML. */
const changeBody: Mutation = (request, random) => {
  const type = request.headers["content-type"] ?? "";
  // The client of archives calls its JSON bytes.
  if ((type.startsWith("application/json") || request.body![0] === BRACE) && random.chance(0.8)) {
    try {
      return { ...request, body: Buffer.from(JSON.stringify(changeJson(JSON.parse(request.body!.toString("utf8")), random))) };
    } catch {
      // No JSON any more.
    }
  }
  if (/^(multipart|application\/xml)/.test(type) && random.chance(0.6)) return { ...request, body: changeLines(request.body!, random) };
  return tamper(request, random);
};

function changeJson(value: unknown, random: Random): unknown {
  if (Array.isArray(value) && value.length > 0 && random.chance(0.7)) {
    const at = random.int(0, value.length - 1);
    return value.map((one, index) => (index === at ? changeJson(one, random) : one));
  }
  if (typeof value !== "object" || value === null) return typeof value === "string" && random.chance(0.5) ? changeText(value, random) : random.pick(VALUES);
  const entries = Object.entries(value);
  if (entries.length === 0 || random.chance(0.1)) return { ...value, [random.pick(WORDS)]: random.pick(VALUES) };
  const at = random.int(0, entries.length - 1);
  if (random.chance(0.15)) entries.splice(at, 1);
  else entries[at] = [entries[at]![0], changeJson(entries[at]![1], random)];
  return Object.fromEntries(entries);
}

/** Structure of forms and block lists: lines and tags taken out, doubled, swapped, broken. */
function changeLines(body: Buffer, random: Random): Buffer {
  const text = body.toString("latin1");
  const separator = text.includes("\r\n--") ? "\r\n" : "<";
  const pieces = text.split(separator);
  const [a, b] = [random.int(0, pieces.length - 1), random.int(0, pieces.length - 1)];
  switch (random.int(0, 4)) {
    case 0: pieces.splice(a, 1); break;
    case 1: pieces.splice(a, 0, pieces[b]!); break;
    case 2: [pieces[a], pieces[b]] = [pieces[b]!, pieces[a]!]; break;
    case 3: pieces[a] = changeText(pieces[a]!, random); break;
    default: pieces.splice(a, pieces.length);
  }
  return Buffer.from(pieces.join(separator), "latin1");
}

/** Bytes changed, cut off, doubled, put in: what breaks lengths and tags of protobuf. */
const tamper: Mutation = (request, random) => {
  const body = Buffer.from(request.body!);
  const at = random.int(0, body.length);
  let changed: Buffer;
  switch (random.int(0, 4)) {
    case 0: changed = body.subarray(0, at); break;
    case 1: changed = Buffer.concat([body, body.subarray(at)]); break;
    case 2: changed = Buffer.concat([body.subarray(0, at), Buffer.from([random.int(0, 255), random.int(0, 255)]), body.subarray(at)]); break;
    case 3: changed = Buffer.alloc(0); break;
    default:
      changed = body;
      for (let i = random.int(1, 8); i > 0 && body.length > 0; i--) changed[random.int(0, body.length - 1)] = random.int(0, 255);
  }
  return { ...request, body: changed };
};
