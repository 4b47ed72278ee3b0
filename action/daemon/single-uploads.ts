import { forwarded, type Incoming } from "./incoming.ts";
import { briefly, send, take, type Deferral, type Deferring } from "./deferral.ts";
import { sendAnswer } from "./outgoing.ts";
import type { Call, Outcome } from "./relay.ts";

/** Defers uploads which are one request; who reads the same thing meanwhile waits for it to be delivered. */
export class SingleUploads implements Deferral {
  readonly #parts: Deferring;
  /** What is on its way, by protocol and subject. */
  readonly #pending = new Map<string, Promise<boolean>>();

  constructor(parts: Deferring) {
    this.#parts = parts;
  }

  async handle(call: Call, body: Incoming): Promise<Outcome | undefined> {
    const { client, tool, request, response, target, row } = call;
    const subject = client.deferred?.subject(tool);
    if (subject === undefined) return undefined;
    const name = `${client.name} ${target.to.slice(0, target.to.indexOf(tool.path))}${subject}`;
    const pending = this.#pending.get(name);
    if (client.purpose(tool) !== "upload") {
      if (pending) await briefly(pending);
      return undefined;
    }
    const { spool, behind, upstreams } = this.#parts;
    if (!upstreams.some((one) => one.available)) return undefined;
    const spooled = await take(spool, body);
    if (!spooled) return undefined;
    const headers = forwarded(request);
    const delivery = behind.add(spooled.size, async (signal) => {
      const upstream = upstreams.find((one) => one.available);
      return upstream ? send(upstream, { method: tool.method, target: target.to, headers, body: spooled }, row, signal) : "away";
    }, pending?.then(() => true));
    this.#pending.set(name, delivery);
    void delivery.then(async (well) => {
      if (this.#pending.get(name) === delivery) this.#pending.delete(name);
      if (!well) {
        row.stored--;
        row.failed++;
      }
      await spooled.drop();
    });
    sendAnswer(response, client.deferred!.answer);
    return "stored";
  }
}
