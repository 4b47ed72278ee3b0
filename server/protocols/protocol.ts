import type { FastifyInstance } from "fastify";
import type { Registry } from "prom-client";
import type { TSchema } from "typebox";
import type { Core } from "../core/core.ts";
import type { Keyspace } from "../core/entry.ts";
import type { Auth } from "../http/auth.ts";
import type { Listeners } from "../http/listeners.ts";
import type { Log } from "../http/log.ts";
import type { Receiver } from "../http/receive.ts";
import type { RefusalTable } from "../http/refusals.ts";
import type { Sender } from "../http/send.ts";
import type { Signer } from "../http/signing.ts";
import type { Urls } from "../http/urls.ts";

/** What a plugin works with; it only parses and formats its wire, everything else is here. */
export interface ProtocolContext<Options = unknown> {
  readonly core: Core;
  readonly options: Options;
  /** The verified credential's grant, and what a signed URL needs. */
  readonly auth: Auth;
  /** Bodies in: limits, stalls, counting. */
  readonly receive: Receiver;
  /** Bodies out: Range, HEAD, ETag, Content-Length, RAM, redirects. */
  readonly send: Sender;
  readonly signer: Signer;
  readonly urls: Urls;
  /** Ports of their own for what lies below a path. */
  readonly listeners: Pick<Listeners, "add">;
  readonly log: Log;
  /** Where a protocol registers metrics that only it has. */
  readonly registry: Registry;
  /** The server's directory; what lies there under a protocol's name is that protocol's. */
  readonly data: string;
}

/** A protocol is a folder under protocols/ whose index.ts exports one of these (design §7). */
export interface Protocol<Options = never> {
  /** Label of its metrics, and its name under `protocols` in the configuration. */
  readonly name: string;
  readonly options: TSchema;
  readonly keyspaces: readonly Keyspace[];
  readonly refusals: RefusalTable;
  readonly plugin: (app: FastifyInstance, context: ProtocolContext<Options>) => void | Promise<void>;
}
