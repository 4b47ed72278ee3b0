import { setTimeout } from "node:timers/promises";
import { bytesOf } from "../fixtures/random.ts";
import { finalized, GhaClient, NipClient, signedUrl, call, type Answer, type Target } from "../fixtures/wire-clients.ts";
import { Ledger } from "../crash/ledger.ts";

/** One request as its client saw it. */
export interface Sample {
  readonly op: "nip put" | "nip get" | "gha put" | "gha get";
  /** Of a body too large for the database. */
  readonly large: boolean;
  /** 0: the connection broke, or no answer came within a minute. */
  readonly status: number;
  /** What it was for was done. */
  readonly done: boolean;
  readonly text: string;
  readonly began: number;
  readonly ms: number;
}

export interface Traffic {
  /** Everything since the last call. */
  take(): Sample[];
  /** What acknowledged writes there are. */
  readonly ledger: Ledger;
  /** Resolves with how long it took until every kind of request, small and large, was done again. @throws after `patience` ms */
  recovered(patience: number): Promise<number>;
  stop(): Promise<void>;
}

export interface TrafficOptions {
  /** Loops at once. Default 6. */
  readonly clients?: number;
  /** Bytes of a body, of which every other is small. Default 200,000: above what the database takes. */
  readonly size?: number;
  /** Rest between two requests of a loop, ms. Default 5. */
  readonly pause?: number;
}

/** Saves and restores through both protocols, over and over, whatever the answers are. */
export function startTraffic(target: Target, options: TrafficOptions = {}): Traffic {
  const { clients = 6, size = 200_000, pause = 5 } = options;
  const ledger = new Ledger();
  const nip = new NipClient(target);
  const gha = new GhaClient(target);
  let samples: Sample[] = [];
  let stopped = false;

  const measure = async (op: Sample["op"], large: boolean, work: () => Promise<{ answer: Answer; done: boolean }>): Promise<boolean> => {
    const began = performance.now();
    const [status, done, text] = await work().then(
      ({ answer, done: ok }) => [answer.status, ok, answer.body.toString("utf8", 0, 300)] as const,
      (error: unknown) => [0, false, `${String(error)} ${String((error as Error).cause ?? "")}`] as const,
    );
    samples.push({ op, large, status, done, text, began, ms: performance.now() - began });
    return done;
  };

  const loop = async (client: number) => {
    for (let serial = 0; !stopped; serial++) {
      const key = `traffic-${client}-${serial}`;
      const large = serial % 2 === 0;
      const body = bytesOf(key, large ? size : 1_000);
      const nipAttempt = ledger.begin("nip", key, body);
      const put = await measure("nip put", large, async () => {
        const answer = await nip.put(key, body, { version: 1 });
        return { answer, done: answer.status === 201 };
      });
      if (put) ledger.acknowledge(nipAttempt);
      if (put) await measure("nip get", large, async () => {
        const answer = await nip.get(key);
        return { answer, done: answer.status === 200 && answer.body.equals(body) };
      });
      const ghaAttempt = ledger.begin("gha", key, body);
      const saved = await measure("gha put", large, async () => {
        const answer = await gha.put(key, body);
        return { answer, done: finalized(answer) };
      });
      if (saved) ledger.acknowledge(ghaAttempt);
      if (saved) await measure("gha get", large, async () => {
        const found = await gha.find(key);
        const url = signedUrl(found, "signed_download_url");
        const answer = url === undefined ? found : await call(url);
        return { answer, done: url !== undefined && answer.status === 200 && answer.body.equals(body) };
      });
      await setTimeout(pause);
    }
  };
  const loops = Array.from({ length: clients }, (_, client) => loop(client));

  return {
    ledger,
    take: () => {
      const taken = samples;
      samples = [];
      return taken;
    },
    recovered: async (patience) => {
      const since = performance.now();
      for (;;) {
        const done = new Set(samples.filter((sample) => sample.done && sample.began > since).map(({ op, large }) => `${op} ${large ? "large" : "small"}`));
        if (done.size === 8) return performance.now() - since;
        if (performance.now() - since > patience) throw new Error(`not recovered after ${patience} ms: ${JSON.stringify([...done])}; ${describe(samples)}`);
        await setTimeout(20);
      }
    },
    stop: async () => {
      stopped = true;
      await Promise.all(loops);
    },
  };
}

/** How often each answer came, with an example, and the longest wait. */
export function describe(samples: readonly Sample[]): string {
  const kinds = Map.groupBy(samples, ({ op, status, done }) => `${op} ${status}${done ? "" : " (not done)"}`);
  const lines = [...kinds].map(([kind, list]) => `${list.length} × ${kind}, at most ${Math.max(...list.map(({ ms }) => ms)).toFixed(0)} ms${list[0]!.done ? "" : `: ${list[0]!.text}`}`);
  return lines.toSorted().join("\n");
}

/** Samples that are neither done nor refused as the protocol's status table says: see the README of each protocol. */
export function unruly(samples: readonly Sample[]): Sample[] {
  return samples.filter((sample) => !sample.done && !isRefusal(sample));
}

function isRefusal({ op, status, text }: Sample): boolean {
  if (op.startsWith("nip")) return [429, 503, 507].includes(status) && isJson(text);
  // The cache service declines politely; its blobs answer as Azure's do.
  if (status === 200) return (JSON.parse(text) as { ok?: boolean }).ok === false;
  return [503, 507].includes(status) && text.includes("<Error><Code>");
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Reads back everything that was acknowledged; returns what is wrong. */
export async function lost(target: Target, ledger: Ledger): Promise<string[]> {
  const gha = new GhaClient(target);
  const nip = new NipClient(target);
  const problems: string[] = [];
  for (const protocol of ["nip", "gha"] as const) {
    for (const key of ledger.keys(protocol)) {
      if (ledger.of(protocol, key)[0]!.acknowledged === undefined) continue;
      const asked = performance.now();
      if (protocol === "gha") problems.push(...[ledger.judge("gha", key, await gha.get(key).then((bytes) => (bytes ? { bytes } : "miss")), asked)].filter((text) => text !== undefined));
      else {
        const answer = await nip.get(key);
        problems.push(...[ledger.judge("nip", key, answer.status === 200 ? { bytes: answer.body } : "miss", asked)].filter((text) => text !== undefined));
      }
    }
  }
  return problems;
}

