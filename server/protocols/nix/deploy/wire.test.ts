import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WireError } from "../../wire.ts";
import { formatDeployment, formatRegistered, isLastLine, isUuid, parseAgentCommand, parseDeploySpec, parseLogLine } from "./wire.ts";

const ID = "0b7a2a54-6d1c-4b5e-9f54-0f1f6d3b2a11";
const NOW = new Date("2026-11-22T01:02:03.000Z");

test("what the server says has the form of §3.4", () => {
  const cache = { cacheName: "team", publicKey: "a2V5", isPublic: false };
  expect(JSON.parse(formatRegistered("a", "m", cache))).toEqual({ method: "AgentRegistered", agent: "a", id: "m", command: { tag: "AgentRegistered", contents: { id: "a", cache } } });
  const order = { id: ID, index: 3, storePath: "/nix/store/x", rollbackScript: null };
  expect(JSON.parse(formatDeployment("a", "m", order))).toEqual({ method: "Deployment", agent: "a", id: "m", command: { tag: "Deployment", contents: order } });
});

describe("what an agent tells", () => {
  const message = (command: object) => JSON.stringify({ method: "x", agent: ID, id: ID, command });

  test("is that it has begun, with the size once it is known, and how it ended", () => {
    expect(parseAgentCommand(message({ tag: "DeploymentStarted", id: ID, time: "t", closureSize: null }))).toEqual({ tag: "DeploymentStarted", id: ID, closureSize: null });
    expect(parseAgentCommand(message({ tag: "DeploymentStarted", id: ID.toUpperCase(), time: "t" }))).toEqual({ tag: "DeploymentStarted", id: ID, closureSize: null });
    expect(parseAgentCommand(message({ tag: "DeploymentStarted", id: ID, closureSize: 5 }))).toMatchObject({ closureSize: 5 });
    expect(parseAgentCommand(message({ tag: "DeploymentFinished", id: ID, hasSucceeded: false }))).toEqual({ tag: "DeploymentFinished", id: ID, hasSucceeded: false });
  });

  test.each([
    "", "[]", "null", "{}", message({}), message({ tag: "DeploymentStarted" }), message({ tag: "DeploymentStarted", id: "1" }), message({ tag: "DeploymentStarted", id: ID, closureSize: -1 }),
    message({ tag: "DeploymentFinished", id: ID }), message({ tag: "DeploymentFinished", id: ID, hasSucceeded: "yes" }), message({ tag: "Deployment", id: ID }),
  ])("is refused as %j", (text) => {
    expect(() => parseAgentCommand(text)).toThrow(WireError);
  });

  test("never fails otherwise", () => {
    const parsers = [parseAgentCommand, parseDeploySpec, (text: string) => parseLogLine(text, NOW)];
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        for (const parse of parsers) {
          try {
            parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        }
      }),
    );
  });
});

describe("a line of a log", () => {
  test("keeps its text and its time, and gets one that it lacks", () => {
    expect(parseLogLine(JSON.stringify({ line: "é", time: "2026-01-01T00:00:00.123456Z" }), NOW)).toEqual({ line: "é", time: "2026-01-01T00:00:00.123Z" });
    expect(parseLogLine(JSON.stringify({ line: "", time: "soon" }), NOW)).toEqual({ line: "", time: NOW.toISOString() });
    expect(parseLogLine(JSON.stringify({ line: "x".repeat(10_000) }), NOW).line).toHaveLength(8_194);
    expect(() => parseLogLine("{}", NOW)).toThrow(WireError);
  });

  test("is the last one when it says so at its beginning", () => {
    const last = (line: string) => isLastLine({ line, time: "" });
    expect([last("Successfully activated the deployment."), last("Failed to activate the deployment. x"), last("> Failed to activate the deployment")]).toEqual([true, true, false]);
  });
});

describe("a deploy specification", () => {
  test("names a path for each agent, and may name scripts by system", () => {
    expect(parseDeploySpec('{"agents":{"web":"/nix/store/a"}}')).toEqual({ agents: { web: "/nix/store/a" }, rollbackScript: {} });
    expect(parseDeploySpec('{"agents":{"__proto__":"p"},"rollbackScript":null}')).toEqual({ agents: JSON.parse('{"__proto__":"p"}'), rollbackScript: {} });
    expect(parseDeploySpec('{"agents":{"web":"a"},"rollbackScript":{"x86_64-linux":"b"},"more":1}').rollbackScript).toEqual({ "x86_64-linux": "b" });
  });

  test.each(["{", "{}", '{"agents":{}}', '{"agents":[]}', '{"agents":{"web":1}}', '{"agents":{"":"a"}}', '{"agents":{"a":"b"},"rollbackScript":"c"}', JSON.stringify({ agents: Object.fromEntries(Array.from({ length: 201 }, (_, i) => [`a${i}`, "p"])) })])(
    "is refused as %j",
    (text) => expect(() => parseDeploySpec(text)).toThrow(WireError),
  );
});

test("an id is a UUID", () => {
  fc.assert(fc.property(fc.uuid(), (id) => isUuid(id) && isUuid(id.toUpperCase())));
  for (const wrong of [undefined, 1, "", `${ID}0`, `../${ID}`]) expect(isUuid(wrong)).toBe(false);
});
