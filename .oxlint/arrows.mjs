import path from "node:path";

/**
 * The arrows of the house: which layer may import which. They run down only; a layer may always import itself.
 * Tests may import anything: they look at the house from outside.
 */

/** Where a layer lives. The first match wins, so that a layer's public part can stand before the rest of its folder. */
const LAYERS = [
  ["test", /^test\/|\.(test|bench)\.ts$|\/conformance(\.ts|\/)/],
  ["main", /^server\/(main\.ts|bin\.mjs)$/],
  ["cli", /^server\/cli(\.ts|\/)/],
  ["config fields", /^server\/config\/(fields|kinds|units)\.ts$/],
  ["config", /^server\/config(\.ts|\/)/],
  ["metrics", /^server\/metrics(\.ts|\/)/],
  // What wires the server together: app.ts, serve.ts and their like.
  ["app", /^server\/(app\/|[^/]+\.ts$)/],
  ["a protocol's client", /^server\/protocols\/([^/]+\/)?(client|wire)\.ts$/],
  ["protocols", /^server\/protocols\//],
  ["admin", /^server\/admin\//],
  ["http", /^server\/http\//],
  ["identity", /^server\/identity\//],
  ["words", /^server\/core\/(entry|errors|grant|scope)\.ts$/],
  ["core", /^server\/core\//],
  ["storage interface", /^server\/storage\/store\.ts$/],
  ["storage options", /^server\/storage\/.*options\.ts$/],
  ["storage", /^server\/storage\//],
  ["database interface", /^server\/database\/(database|operations|step)(\.ts|\/)/],
  ["database", /^server\/database\//],
  ["action's client", /^action\/client\//],
  ["action", /^action\//],
  ["operator", /^operator\//],
];

/** Vocabulary that every layer of the server may use: it imports nothing itself. */
const WORDS = ["words", "config fields"];
const INTERFACES = [...WORDS, "storage interface", "database interface"];
const CORE = ["core", ...INTERFACES];
const HTTP = ["http", "identity", ...CORE];
const PROTOCOLS = ["protocols", "a protocol's client", "admin"];
const APP = ["app", "config", "metrics", ...PROTOCOLS, ...HTTP, "storage options", "storage", "database"];

const MAY_IMPORT = {
  main: ["cli", ...APP],
  cli: [...APP, "action's client"],
  app: APP,
  "config fields": ["words"],
  // Each driver describes its own options, and the config puts them together.
  config: [...WORDS, "storage options"],
  metrics: HTTP,
  "a protocol's client": WORDS,
  protocols: ["a protocol's client", ...HTTP],
  admin: HTTP,
  http: ["identity", ...CORE],
  identity: CORE,
  core: INTERFACES,
  words: [],
  "storage interface": WORDS,
  "storage options": WORDS,
  storage: ["storage interface", "storage options", ...WORDS],
  "database interface": WORDS,
  database: ["database interface", ...WORDS],
  "action's client": ["a protocol's client"],
  action: ["action's client", "a protocol's client"],
  // The schema of the configuration, and nothing of what runs with it.
  operator: ["config", "config fields"],
};

/** Packages that belong to one driver; nothing else knows them. */
const DRIVERS = [
  [/^@aws-sdk\//, "storage"],
  [/^(postgres$|node:sqlite$)/, "database"],
];

/** What the core and everything below it must not know. */
const HTTP_PACKAGES = /^(node:https?2?$|fastify$|@fastify\/)/;
const WITHOUT_HTTP = ["core", "words", "storage interface", "storage", "database interface", "database", "identity"];

const layerOf = (file) => LAYERS.find(([, where]) => where.test(file))?.[0];

/** Why `from` (a path in the repository) may not import `specifier`; undefined if it may. */
function objection(from, specifier) {
  const layer = layerOf(from);
  if (layer === "test") return undefined;
  if (layer === undefined) return /^(server|action|operator)\//.test(from) ? "This folder is in no layer; name it in .oxlint/arrows.mjs." : undefined;
  if (!specifier.startsWith(".")) {
    const owner = DRIVERS.find(([name]) => name.test(specifier))?.[1];
    if (owner !== undefined && owner !== layer) return `Only ${owner} knows ${specifier}.`;
    if (HTTP_PACKAGES.test(specifier) && WITHOUT_HTTP.includes(layer)) return `${layer} knows no HTTP (${specifier}).`;
    return undefined;
  }
  const target = layerOf(path.posix.join(path.posix.dirname(from), specifier));
  if (target === undefined || target === layer || MAY_IMPORT[layer].includes(target)) return undefined;
  return `Arrows run down only: ${layer} must not import ${target} (${specifier}).`;
}

const arrows = {
  meta: { type: "problem", docs: { description: "imports follow the arrows of the house" } },
  create(context) {
    const from = path.relative(context.cwd, context.filename).split(path.sep).join("/");
    const check = (source) => {
      const message = typeof source?.value === "string" ? objection(from, source.value) : undefined;
      if (message !== undefined) context.report({ node: source, message });
    };
    return {
      ImportDeclaration: (node) => check(node.source),
      ExportNamedDeclaration: (node) => check(node.source),
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      TSImportType: (node) => check(node.source ?? node.argument),
    };
  },
};

export default { meta: { name: "house" }, rules: { arrows } };
