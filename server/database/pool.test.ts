import { expect, test } from "vitest";
import { Pool } from "./pool.ts";

class Line {
  readonly number: number;
  readonly lost: () => void;
  dropped = false;

  constructor(number: number, lost: () => void) {
    this.number = number;
    this.lost = lost;
  }

  drop(): void {
    this.dropped = true;
  }
}

function pool(max: number) {
  const made: Line[] = [];
  const connect = (lost: () => void) => {
    const line = new Line(made.length + 1, lost);
    made.push(line);
    return line;
  };
  return { made, pool: new Pool<Line>({ max, connect, harmless: (error) => (error as Error).message === "refused" }) };
}

const never = () => new Promise<never>(() => {});
const numberOf = async (line: Line) => line.number;

test("a connection serves one call at a time, and the next in line gets it first", async () => {
  const { pool: lines, made } = pool(1);
  const order: string[] = [];
  let running = 0;
  const call = (name: string) => lines.use(1_000, async () => {
    expect(++running).toBe(1);
    order.push(name);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
  });
  await Promise.all([call("a"), call("b"), call("c").then(() => call("e")), call("d")]);
  expect(order).toEqual(["a", "b", "c", "d", "e"]);
  expect(made.length).toBe(1);
});

test("a refused call leaves its connection to others, any other error ends it", async () => {
  const { pool: lines, made } = pool(1);
  await expect(lines.use(1_000, async () => Promise.reject(new Error("refused")))).rejects.toThrow("refused");
  expect(await lines.use(1_000, numberOf)).toBe(1);
  await expect(lines.use(1_000, async () => Promise.reject(new Error("reset")))).rejects.toThrow("reset");
  expect(made[0]!.dropped).toBe(true);
  expect(await lines.use(1_000, numberOf)).toBe(2);
});

test("a silent connection is given up in time, and who waited for it gets another", async () => {
  const { pool: lines, made } = pool(1);
  const silent = lines.use(30, never);
  const waiting = lines.use(1_000, numberOf);
  await expect(silent).rejects.toThrow("did not answer in time");
  expect(await waiting).toBe(2);
  expect(made[0]!.dropped).toBe(true);
});

test("waiting for a connection is bounded too", async () => {
  const { pool: lines } = pool(1);
  const slow = lines.use(200, never);
  await expect(lines.use(20, numberOf)).rejects.toThrow("no connection to the database came free in time");
  await expect(slow).rejects.toThrow();
});

test("a connection the other side has ended is not used again, idle or busy", async () => {
  const { pool: lines, made } = pool(2);
  await lines.use(1_000, numberOf);
  made[0]!.lost();
  expect(made[0]!.dropped).toBe(true);
  await lines.use(1_000, async (line) => line.lost());
  expect(await lines.use(1_000, numberOf)).toBe(3);
});

test("closing lets running calls finish, refuses the waiting ones, and ends what does not finish", async () => {
  const { pool: lines, made } = pool(2);
  const finishing = lines.use(1_000, () => new Promise((resolve) => setTimeout(() => resolve("done"), 20)));
  const stuck = lines.use(500, never);
  const waiting = lines.use(1_000, numberOf);
  const refused = expect(waiting).rejects.toThrow("closed");
  const failed = expect(stuck).rejects.toThrow();
  await lines.close(60);
  expect(await finishing).toBe("done");
  expect(made.every((line) => line.dropped)).toBe(true);
  await refused;
  await expect(lines.use(1_000, numberOf)).rejects.toThrow("closed");
  await failed;
});
