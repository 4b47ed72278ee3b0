import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isLoopback } from "../config/kinds.ts";
import { errors, StowError } from "../core/errors.ts";
import type { Io } from "./io.ts";

const LOCAL_SERVER = "http://127.0.0.1:8420";
const CONNECT_MS = 2_000;
const ANSWER_MS = 30_000;
/** What no answer of ours comes near. */
const MAX_ANSWER = 64 * 1024 * 1024;

/** Options every command has that talks to a server. */
export interface ServerOptions {
  readonly server?: string;
  readonly token?: string;
  readonly data?: string;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** The admin API of one server, for commands. */
export class AdminClient {
  readonly #base: string;
  readonly #token: string | undefined;
  #reached = false;

  /** @throws badRequest for a server that is no URL */
  constructor(options: ServerOptions, io: Io) {
    const [first = ""] = (options.server ?? (io.env["STOWHOUSE_SERVER"] || LOCAL_SERVER)).split(",");
    this.#base = first.trim().replace(/\/+$/, "");
    const url = URL.canParse(this.#base) ? new URL(this.#base) : undefined;
    if (url?.protocol !== "http:" && url?.protocol !== "https:") throw errors.badRequest(`"${first}" is no server; write it like ${LOCAL_SERVER}`);
    // The key of this machine's server is of no use to another, and none of its business.
    const local = isLoopback(url.hostname.replace(/^\[|\]$/g, ""));
    this.#token = options.token ?? (io.env["STOWHOUSE_TOKEN"] || (local ? localAdminKey(options, io) : undefined));
  }

  get<T>(path: string, query: Query = {}): Promise<T> {
    return this.#call("GET", path, query, undefined, ANSWER_MS);
  }

  /** @param patience how long the answer may take, ms */
  post<T>(path: string, body: object = {}, patience = ANSWER_MS): Promise<T> {
    return this.#call("POST", path, {}, body, patience);
  }

  delete<T>(path: string, query: Query = {}): Promise<T> {
    return this.#call("DELETE", path, query, undefined, ANSWER_MS);
  }

  async #call<T>(method: string, path: string, query: Query, body: object | undefined, patience: number): Promise<T> {
    await this.#reach();
    const url = new URL(`${this.#base}/v1/admin${path}`);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const headers: Record<string, string> = { accept: "application/json" };
    if (this.#token !== undefined) headers["authorization"] = `Bearer ${this.#token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const { status, text } = await this.#fetch(url, { method, headers, body: body === undefined ? null : JSON.stringify(body) }, patience);
    const answer = parse(text);
    if (answer === undefined) throw errors.unreachable(`${this.#base} (it answered ${status}, but not as a Stowhouse server does)`);
    if (status >= 400) throw refusal(status, answer);
    return answer as T;
  }

  /** A server that is away is noticed in two seconds, however long the answer may take afterwards. */
  async #reach(): Promise<void> {
    if (this.#reached) return;
    await this.#fetch(new URL(`${this.#base}/livez`), { method: "GET" }, CONNECT_MS);
    this.#reached = true;
  }

  async #fetch(url: URL, init: RequestInit, patience: number): Promise<{ status: number; text: string }> {
    try {
      const response = await fetch(url, { ...init, redirect: "error", signal: AbortSignal.timeout(patience) });
      let text = "";
      for await (const part of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        text += part;
        if (text.length > MAX_ANSWER) throw new Error("its answer is too large");
      }
      return { status: response.status, text };
    } catch (error) {
      const why = reason(error, patience);
      throw this.#reached ? errors.noAnswer(why, { cause: error }) : errors.unreachable(`${this.#base} (${why})`, { cause: error });
    }
  }
}

function reason(error: unknown, patience: number): string {
  if ((error as Error).name === "TimeoutError") return `no answer within ${patience / 1000} s`;
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  return cause?.code ?? cause?.message ?? (error as Error).message;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function refusal(status: number, answer: unknown): StowError {
  const { code = "STOW_INTERNAL", message = `The server answered ${status}.` } = (answer as { error?: { code?: string; message?: string } }).error ?? {};
  const hint = "Give an admin key with --token or STOWHOUSE_TOKEN; the server's first start put one into keys.env in its data directory (--data).";
  return new StowError(code, status, status === 401 ? "unauthorized" : "badRequest", status === 401 || code === "STOW_FORBIDDEN_ADMIN" ? `${message} ${hint}` : message);
}

/** The admin key of the server on this machine: the configured one, or the one its first start has written down. */
function localAdminKey(options: ServerOptions, io: Io): string | undefined {
  const { env } = io;
  if (env["STOWHOUSE_ADMIN_KEY"]) return env["STOWHOUSE_ADMIN_KEY"];
  const file = env["STOWHOUSE_ADMIN_KEY_FILE"];
  if (file) return readText(file)?.trim();
  const lines = readText(join(options.data ?? (env["STOWHOUSE_DATA"] || "./data"), "keys.env"))?.split("\n") ?? [];
  return lines.find((line) => line.startsWith("STOWHOUSE_ADMIN_KEY="))?.slice("STOWHOUSE_ADMIN_KEY=".length).trim();
}

/** Undefined where there is no such file, or none for us: then the server says what it wants. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
