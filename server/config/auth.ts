import type { Static } from "typebox";
import { duration, flag, integer, kind, list, optional, section, text } from "./fields.ts";
import { BRANCH, HTTP_URL, NAME, NAMED_SCOPE, REFS, REPOSITORY, SECRET_KEYS, SIGNING_SECRETS } from "./kinds.ts";

const id = (whose: string) => optional(integer(1, Number.MAX_SAFE_INTEGER, { description: `Numeric GitHub id of the ${whose}.` }));

const Rule = section("Whom the server believes, and what they may do. It needs repositoryId or repositoryOwnerId.", {
  repositoryId: id("repository"),
  repositoryOwnerId: id("repository's owner: all its repositories match"),
  repository: optional(kind(REPOSITORY, { description: "Name of the repository, checked beside the id." })),
  cache: kind(NAME, { default: "default", description: "Cache that the session tokens are good for." }),
  defaultBranch: kind(BRANCH, { default: "main", description: "The repository's default branch, whose entries all its branches may read." }),
  trustedRefs: optional(list(kind(REFS, { maxLength: 512, description: "Full name of a ref; a * at its end stands for any rest." }), {
    maxItems: 100,
    description: "Refs whose entries count as trusted. Default: the default branch.",
  })),
  sharedScope: optional(kind(NAMED_SCOPE, {
    description: "A scope that trusted refs write instead of their own and everyone under the rule reads last: shared by all rules that name it.",
  })),
});

const fixedKey = (what: string) => optional(kind(SECRET_KEYS, { format: "password", description: `Fixed ${what}; of several lines, each is one. Default: made at first start.` }));

export const Auth = section("Credentials: API keys, session tokens and the GitHub identities they are made from.", {
  adminKey: fixedKey("admin key"),
  writeKey: fixedKey("read-write key of the default cache"),
  readKey: fixedKey("read-only key of the default cache"),
  signingSecret: optional(kind(SIGNING_SECRETS, {
    format: "password",
    description: "Signs session tokens and URLs; of several lines, the first signs and all verify. Default: made at first start and kept in the database.",
  })),
  sessionLifetime: duration({ default: "60m", description: "How long a session token is good." }),
  maxSessionLifetime: duration({ default: "6h", description: "Longest lifetime a client may ask for." }),
  issuer: text({ default: "stowhouse", description: "Issuer (`iss`) in the session tokens this server signs." }),
  github: section("Exchange of GitHub's OIDC tokens for session tokens.", {
    issuer: kind(HTTP_URL, {
      default: "https://token.actions.githubusercontent.com",
      description: "Issuer of the tokens, exactly as in their `iss`; plain http only on loopback.",
    }),
    audience: optional(text({ description: "Audience (`aud`) the tokens must have. Default: url." })),
    rules: list(Rule, { default: [], maxItems: 1000, description: "Identities that get a session token; all others are refused." }),
    jwksTimeout: duration({ default: "5s", description: "Longest wait for the issuer's public keys." }),
  }),
  githubRuntime: section("Exchange of ACTIONS_RUNTIME_TOKENs, by the rules of auth.github.", {
    enabled: flag({ default: false, description: "Whether runtime tokens are accepted for exchange." }),
  }),
});

type DeclaredRule = Static<typeof Rule>;

/** A rule with its trusted refs filled in. */
export type GithubRule = DeclaredRule & Required<Pick<DeclaredRule, "trustedRefs">>;
