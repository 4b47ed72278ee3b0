import { createHash, randomBytes } from "node:crypto";
import { Agent, request } from "node:http";

/** What a client asked and what came back, when that wasn't what it should have been. */
export interface Failure {
  readonly what: string;
  readonly why: string;
  readonly after: number;
}

export interface Traffic {
  readonly requests: () => number;
  readonly failures: readonly Failure[];
  /** Ends it after the requests under way. */
  stop(): Promise<void>;
}

const PATIENCE = 30_000;

/**
 * Clients that save entries and restore them, over and over, and look at every byte. None retries: one request that fails is
 * one failure. Half of them keep their connections, as build tools do, and half open one a request, as curl does.
 */
export function startTraffic(target: { url: string; key: string }, { clients = 4, size = 20_000 } = {}): Traffic {
  const failures: Failure[] = [];
  const began = performance.now();
  const run = randomBytes(4).toString("hex");
  let requests = 0;
  let going = true;

  const client = async (index: number) => {
    const agent = new Agent({ keepAlive: index % 2 === 0, maxSockets: 1 });
    for (let turn = 0; going; turn++) {
      const key = createHash("sha256").update(`${run}-${index}-${turn % 50}`).digest("hex");
      const body = randomBytes(size);
      await ask(`PUT ${key.slice(0, 8)}`, () => call(agent, target, "POST", "/v1/artifacts/" + key, form(body)), (answer) => answer.status < 300);
      await ask(`GET ${key.slice(0, 8)}`, () => call(agent, target, "GET", "/v1/download/" + key), (answer) => answer.status === 200 && answer.body.equals(body));
    }
    agent.destroy();
  };
  const ask = async (what: string, send: () => Promise<Answer>, good: (answer: Answer) => boolean) => {
    requests++;
    const after = Math.round(performance.now() - began);
    try {
      const answer = await send();
      if (!good(answer)) failures.push({ what, why: `${answer.status} ${answer.body.toString("utf8", 0, 200)}`, after });
    } catch (error) {
      failures.push({ what, why: String(error), after });
    }
  };
  const running = Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  return {
    requests: () => requests,
    failures,
    stop: async () => {
      going = false;
      await running;
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

const BOUNDARY = "----------------------------cluster";

function form(body: Buffer): Buffer {
  const part = (head: string) => Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; ${head}\r\n\r\n`);
  const end = Buffer.from("\r\n");
  return Buffer.concat([part('name="file"; filename="artifact.tar.gz"'), body, end, part('name="metadata"'), Buffer.from('{"name":"load"}'), end, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}

/** One request; a redirect (to the bucket) is followed, as every client does. */
function call(agent: Agent, { url, key }: { url: string; key: string }, method: string, path: string, body?: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { ...(key === "" ? {} : { authorization: `Bearer ${key}` }), ...(body === undefined ? {} : { "content-type": `multipart/form-data; boundary=${BOUNDARY}`, "content-length": body.length }) };
    const sent = request(new URL(path, url), { method, agent, headers, timeout: PATIENCE }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const { location } = response.headers;
        if (response.statusCode === 302 && location !== undefined) resolve(call(agent, { url: location, key: "" }, "GET", location));
        else resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) });
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${PATIENCE} ms`)));
    sent.on("error", (error) => reject(new Error(`${error.message} on a ${sent.reusedSocket ? "kept" : "fresh"} connection`)));
    sent.end(body);
  });
}
