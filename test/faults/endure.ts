import { expect } from "vitest";
import { bytesOf } from "../fixtures/random.ts";
import type { Stowhouse } from "../fixtures/stowhouse.ts";
import { finalized, GhaClient, NipClient, type Target } from "../fixtures/wire-clients.ts";
import { describe, unruly, type Sample, type Traffic } from "./traffic.ts";

export interface Trial {
  readonly server: Stowhouse;
  readonly traffic: Traffic;
  /** Longest a client may wait for an answer while it lasts, ms. */
  readonly bound: number;
  /** Longest until everything works again afterwards, ms. */
  readonly recovery: number;
}

/**
 * Runs a fault under traffic. Every request in it was either done or refused in the words of its protocol, in bounded time;
 * the same process goes on and does everything again once the fault is over. Returns what clients saw meanwhile.
 */
export async function endures(name: string, { server, traffic, bound, recovery }: Trial, fault: () => Promise<void>): Promise<Sample[]> {
  traffic.take();
  await fault();
  const after = await traffic.recovered(recovery).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${server.alive() ? "the server is alive" : "the server has ENDED"}:\n${server.output().slice(-2_000)}`);
  });
  const samples = traffic.take();
  console.log(`${name}: everything again after ${after.toFixed(0)} ms\n${describe(samples)}`);
  expect(server.alive(), server.output().slice(-3_000)).toBe(true);
  expect(unruly(samples)).toEqual([]);
  expect(Math.max(...samples.map(({ ms }) => ms))).toBeLessThan(bound);
  expect(await fetch(`${server.url}/readyz`).then((answer) => answer.status)).toBe(200);
  return samples;
}

/** Refusals among samples. */
export function refused(samples: readonly Sample[]): Sample[] {
  return samples.filter((sample) => !sample.done);
}

/** Entries that were there before: reads of them must go on whatever happens to writes. */
export class Kept {
  readonly #target: Target;
  readonly #names: readonly { key: string; size: number }[];

  private constructor(target: Target, names: readonly { key: string; size: number }[]) {
    this.#target = target;
    this.#names = names;
  }

  /** Saves small, middling and large ones, through both protocols. */
  static async save(target: Target): Promise<Kept> {
    const names = [500, 5_000, 60_000, 150_000, 1_000_000].map((size) => ({ key: `kept-${size}`, size }));
    for (const { key, size } of names) {
      expect((await new NipClient(target).put(key, bytesOf(key, size), {})).status).toBe(201);
      expect(finalized(await new GhaClient(target).put(key, bytesOf(key, size)))).toBe(true);
    }
    return new Kept(target, names);
  }

  /** Fails unless every one of them is served, and right. */
  async read(): Promise<void> {
    for (const { key, size } of this.#names) {
      const answer = await new NipClient(this.#target).get(key);
      expect([key, answer.status, answer.body.equals(bytesOf(key, size))]).toEqual([key, 200, true]);
      expect([key, (await new GhaClient(this.#target).get(key))?.equals(bytesOf(key, size))]).toEqual([key, true]);
    }
  }
}
