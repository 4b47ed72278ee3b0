import { pullClaims, type Claims } from "../fixtures/issuer.ts";

/** What GitHub tells a job about its beginning: as much of it as anything here looks at. */

interface Event {
  readonly name: string;
  readonly payload: object;
  readonly actor: string;
  /** Of the OIDC token, on top of those of a push to main; undefined: such a job gets none. */
  readonly claims: Claims | undefined;
}

const repository = { full_name: "acme/app", id: 1_296_269, owner: { login: "acme" }, default_branch: "main", fork: false };

function pull(head: object | null, login = "octocat") {
  return {
    action: "opened", number: 7, repository, sender: { login },
    pull_request: { number: 7, user: { login }, head: { ref: "feature", sha: "f00d", repo: head }, base: { ref: "main", sha: "beef", repo: repository } },
  };
}

const fork = { full_name: "mallory/app", id: 42, owner: { login: "mallory" }, fork: true };

export const EVENTS = {
  push: { name: "push", actor: "octocat", claims: {}, payload: { ref: "refs/heads/main", repository, sender: { login: "octocat" } } },
  "push to a branch": { name: "push", actor: "octocat", claims: { ref: "refs/heads/feature" }, payload: { ref: "refs/heads/feature", repository, sender: { login: "octocat" } } },
  "pull request": { name: "pull_request", actor: "octocat", claims: pullClaims, payload: pull(repository) },
  "fork's pull request": { name: "pull_request", actor: "mallory", claims: undefined, payload: pull(fork, "mallory") },
  "Dependabot's pull request": { name: "pull_request", actor: "dependabot[bot]", claims: undefined, payload: pull(repository, "dependabot[bot]") },
  pull_request_target: { name: "pull_request_target", actor: "mallory", claims: { event_name: "pull_request_target" }, payload: pull(fork, "mallory") },
} as const satisfies Record<string, Event>;

export type EventName = keyof typeof EVENTS;
