import { parentPort, threadId, workerData } from "node:worker_threads";
import type { Head } from "../../../server/protocols/go/wire.ts";
import { plainOf } from "./remote.ts";
import { placeOutput } from "./store.ts";

/** An output to be put in its place, and what came of it. */
export interface PlaceOrder {
  readonly head: Head;
  readonly body: ArrayBuffer;
}
export interface PlaceReport {
  readonly problem?: string;
}

const { root } = workerData as { root: string };
let serial = 0;

/** Orders are answered in their order. */
parentPort!.on("message", ({ head, body }: PlaceOrder) => {
  let report: PlaceReport = {};
  try {
    placeOutput(root, head.output, plainOf({ head, body: Buffer.from(body) }), `${process.pid}-${threadId}-${serial++}`);
  } catch (error) {
    report = { problem: (error as Error).message };
  }
  parentPort!.postMessage(report);
});
