import type { FastifyRequest } from "fastify";
import type { Refusal, StowError } from "../../core/errors.ts";
import { REFUSALS } from "../../core/errors.ts";
import type { RefusalTable, Refused } from "../../http/refusals.ts";

/** Operations by the client that sends them; what each takes as an answer is in README.md. */
export const OPS = { get: "get", put: "put", cacherGet: "cacher-get", cacherPut: "cacher-put" } as const;

const NOTHING = { type: "text/plain; charset=utf-8", body: "" };
const own = (error: StowError): Refused => ({ status: error.status, body: JSON.stringify({ error: { code: error.code, message: error.message } }) });

/** What both clients still take for the truth; everything else is a miss. */
const SAID: readonly Refusal[] = ["unauthorized", "badRequest", "badRange"];
/** What cacheprog is told of a PUT: ten errors in a row also turn its GETs off, so what it can't help is discarded. */
const TOLD: readonly Refusal[] = ["unauthorized", "badRequest", "notFound"];

function row(refusal: Refusal, error: StowError, request: FastifyRequest): Refused {
  switch (request.stow.config.op) {
    case OPS.cacherPut:
      // Anything else ends `go build`.
      return { ...NOTHING, status: 204 };
    case OPS.put:
      return TOLD.includes(refusal) ? own(error) : { ...NOTHING, status: 200 };
    case OPS.get:
    case OPS.cacherGet:
      return SAID.includes(refusal) ? own(error) : { ...NOTHING, status: 404 };
    default:
      return own(error);
  }
}

/** The status table of all three wires (README.md). */
export const refusals = Object.fromEntries(
  REFUSALS.map((refusal) => [
    refusal,
    (error: StowError, request: FastifyRequest) => {
      const refused = row(refusal, error, request);
      return refusal === "unauthorized" ? { ...refused, headers: { "www-authenticate": 'Basic realm="stowhouse"' } } : refused;
    },
  ]),
) as RefusalTable;
