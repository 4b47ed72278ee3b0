import fc from "fast-check";
import { expect, test } from "vitest";
import { inOrder, parsePathInfos, type StorePath } from "./built.ts";

const digits = (letter: string) => letter.repeat(32);
const NAMES = [`${digits("a")}-top-1.0`, `${digits("b")}-lib`];
const info = { narHash: "sha256-x", narSize: 120, references: NAMES.toReversed().map((name) => `/nix/store/${name}`), deriver: `/nix/store/${digits("c")}-top.drv`, registrationTime: 1_700_000_000, signatures: ["k-1:AA=="], ultimate: true, ca: "text:sha256:x" };
const expected = { name: NAMES[0], narHash: "sha256-x", narSize: 120, references: NAMES, deriver: `${digits("c")}-top.drv`, signatures: ["k-1:AA=="], ca: "text:sha256:x", ultimate: true, registered: 1_700_000_000 };

test("each form in which versions of Nix describe paths is read", () => {
  const path = `/nix/store/${NAMES[0]}`;
  const bare = { ...info, references: NAMES, deriver: `${digits("c")}-top.drv`, version: 2 };
  for (const form of [[{ path, ...info }], { [path]: info }, { info: { [NAMES[0]!]: bare }, storeDir: "/nix/store", version: 2 }]) expect(parsePathInfos(JSON.stringify(form))).toEqual([expected]);
});

test("a content address in pieces, as format 2 has it, is left out", () => {
  expect(parsePathInfos(JSON.stringify({ info: { [NAMES[0]!]: { ...info, ca: { hash: "sha256-x", method: "nar" } } } }))).toEqual([{ ...expected, ca: undefined }]);
});

test("what a version leaves out, or says of paths that are not there, is no obstacle", () => {
  const path = `/nix/store/${NAMES[1]}`;
  expect(parsePathInfos(JSON.stringify({ [path]: { narHash: "sha256-x", narSize: 1 }, [`/nix/store/${NAMES[0]}`]: null }))).toEqual([
    { name: NAMES[1], narHash: "sha256-x", narSize: 1, references: [], deriver: undefined, signatures: [], ca: undefined, ultimate: false, registered: 0 },
  ]);
  fc.assert(fc.property(fc.json(), (json) => void parsePathInfos(json)));
});

test("each path stands once, and after all it refers to", () => {
  // Acyclic: a path refers to itself and to those before it.
  const graphs = fc.array(fc.array(fc.nat(30), { maxLength: 4 }), { maxLength: 30 }).chain((edges) => {
    const paths = edges.map((to, i): StorePath => ({ ...(expected as StorePath), name: `n${i}`, references: [`n${i}`, "elsewhere", ...to.filter((j) => j < i).map((j) => `n${j}`)] }));
    return fc.shuffledSubarray(paths, { minLength: paths.length }).map((shuffled) => [...shuffled, ...shuffled.slice(0, 2)]);
  });
  fc.assert(fc.property(graphs, (paths) => {
    const names = inOrder(paths).map(({ name }) => name);
    expect(names.toSorted()).toEqual([...new Set(paths.map(({ name }) => name))].toSorted());
    for (const { name, references } of paths) for (const other of references) if (names.includes(other)) expect(names.indexOf(other)).toBeLessThanOrEqual(names.indexOf(name));
  }));
});
