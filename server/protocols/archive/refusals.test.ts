import { describe, expect, it } from "vitest";
import { errors, REFUSALS, type Refusal, type StowError } from "../../core/errors.ts";
import { refusals } from "./refusals.ts";

const TABLE: Record<Refusal, [error: StowError, status: number]> = {
  unauthorized: [errors.unauthorized(), 401], forbiddenRead: [errors.forbiddenRead(), 403], forbiddenWrite: [errors.forbiddenWrite(), 403], badRequest: [errors.badRequest("no"), 400],
  notFound: [errors.notFound(), 404], exists: [errors.exists(), 409], tooLarge: [errors.tooLarge("1"), 413], overQuota: [errors.overQuota(), 507], diskFull: [errors.diskFull(), 507],
  rateLimited: [errors.rateLimited(), 429], readFailure: [errors.readFailure(), 503], writeFailure: [errors.writeFailure(), 503], draining: [errors.draining(), 503], badRange: [errors.badRange(), 416],
};

describe("the status table", () => {
  const request = (op: string) => ({ stow: { config: { op } } }) as never;

  it.each(REFUSALS)("answers %s as the README says", (refusal) => {
    const [error, status] = TABLE[refusal];
    const refused = refusals[refusal](error, request("blobs"));
    expect([refused.status, JSON.parse(String(refused.body))]).toEqual([status, { error: { code: error.code, message: error.message } }]);
  });

  it("makes a miss of a look-up that can't read", () => {
    const error = errors.readFailure();
    expect(refusals.readFailure(error, request("lookup"))).toEqual({ status: 200, body: JSON.stringify({ hit: false, error: error.message }) });
  });
});
