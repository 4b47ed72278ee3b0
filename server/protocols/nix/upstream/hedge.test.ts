import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { hedged } from "./hedge.ts";

type Source = { after: number; says?: string; fails?: boolean };

async function race(sources: Source[], delay = 40) {
  const asked: number[] = [];
  const stopped: number[] = [];
  const raced = await hedged(sources, delay, async (source, signal) => {
    const index = sources.indexOf(source);
    asked.push(index);
    await sleep(source.after, undefined, { signal }).catch(() => {
      stopped.push(index);
      throw new Error("stopped");
    });
    if (source.fails) throw new Error(`failure of ${index}`);
    return source.says;
  });
  await sleep(0);
  return { asked, stopped, ...raced };
}

test("a quick hit asks nobody else", async () => {
  expect(await race([{ after: 1, says: "a" }, { after: 1, says: "b" }])).toMatchObject({ asked: [0], found: "a" });
});

test("a miss and a failure give way to the next at once", async () => {
  const started = performance.now();
  expect(await race([{ after: 1 }, { after: 1, fails: true }, { after: 1, says: "c" }], 10_000)).toMatchObject({ asked: [0, 1, 2], found: "c" });
  expect(performance.now() - started).toBeLessThan(5_000);
});

test("a slow one is overtaken, and told to stop", async () => {
  expect(await race([{ after: 10_000, says: "a" }, { after: 1, says: "b" }])).toMatchObject({ asked: [0, 1], found: "b", stopped: [0], failures: [] });
});

test("nobody has it: what failed is told from what said no", async () => {
  expect(await race([{ after: 1 }, { after: 1 }])).toMatchObject({ found: undefined, failures: [] });
  const { found, failures } = await race([{ after: 1, fails: true }, { after: 1 }]);
  expect([found, failures.map(String)]).toEqual([undefined, ["Error: failure of 0"]]);
});

test("nobody to ask", async () => {
  expect(await race([])).toMatchObject({ found: undefined, failures: [] });
});
