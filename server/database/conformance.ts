import { afterAll, beforeAll, describe } from "vitest";
import { archives } from "./conformance/archives.ts";
import { blobs } from "./conformance/blobs.ts";
import { browse } from "./conformance/browse.ts";
import { deploy } from "./conformance/deploy.ts";
import { entries } from "./conformance/entries.ts";
import { needs } from "./conformance/needs.ts";
import { races } from "./conformance/races.ts";
import { records } from "./conformance/records.ts";
import { sequences } from "./conformance/sequences.ts";
import type { Subject } from "./conformance/subject.ts";
import { uploads } from "./conformance/uploads.ts";

/** What every database driver has to do, operation by operation. */
export function conformance(label: string, start: () => Promise<Subject>): void {
  describe(label, () => {
    let subject: Subject;
    beforeAll(async () => {
      subject = await start();
    });
    afterAll(() => subject?.stop());
    for (const suite of [entries, blobs, uploads, archives, browse, records, deploy, needs, races, sequences]) suite(() => subject);
  });
}
