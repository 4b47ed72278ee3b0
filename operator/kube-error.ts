/** The one registry of what can go wrong between the operator and the API server. */

/** One finding of the API server about one field, as in `metav1.StatusCause`. */
export interface Cause {
  readonly field?: string;
  readonly reason?: string;
  readonly message?: string;
}

interface Facts {
  status: number;
  reason: string;
  message: string;
  permanent?: boolean;
  causes?: readonly Cause[];
  retryAfter?: number | undefined;
  cause?: unknown;
}

export class KubeError extends Error {
  /** HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** One word: the API server's own (`NotFound`, `Conflict`, `Invalid`…), or one of `kubeErrors`. */
  readonly reason: string;
  readonly causes: readonly Cause[];
  /** The same request will fail again: only a change of what was asked helps. */
  readonly permanent: boolean;
  /** How long the API server wants to be left alone, ms. */
  readonly retryAfter: number | undefined;

  constructor(facts: Facts) {
    super(facts.message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "KubeError";
    this.status = facts.status;
    this.reason = facts.reason;
    this.causes = facts.causes ?? [];
    this.permanent = facts.permanent ?? false;
    this.retryAfter = facts.retryAfter;
  }
}

/** Statuses which say that the request itself is wrong. 403 is none of them: rights may be granted at any time. */
const PERMANENT = new Set([400, 405, 406, 413, 415, 422]);
/** The API server answers 500 to the server-side apply of a field that no schema declares. */
const UNDECLARED = /field not declared in schema/;
const LONGEST_MESSAGE = 1_000;

/** `metav1.Status`, as far as it is read. */
interface Status {
  kind?: unknown;
  code?: unknown;
  reason?: unknown;
  message?: unknown;
  details?: { causes?: Cause[]; retryAfterSeconds?: number };
}

function parse(text: string): Status {
  try {
    const status = JSON.parse(text) as Status | null;
    return status?.kind === "Status" ? status : {};
  } catch {
    return {};
  }
}

const unanswered = (reason: string, status = 0) => (message: string, cause?: unknown) => new KubeError({ status, reason, message, cause });

export const kubeErrors = {
  /** From an answer that is no success. @param retryAfter the header's value, s */
  answer(status: number, text: string, retryAfter?: string): KubeError {
    const { reason, message, details } = parse(text);
    const said = (typeof message === "string" ? message : text).slice(0, LONGEST_MESSAGE) || `HTTP ${status}`;
    const seconds = Number(retryAfter ?? details?.retryAfterSeconds);
    return new KubeError({
      status,
      reason: typeof reason === "string" && reason !== "" ? reason : `HTTP${status}`,
      message: said,
      causes: details?.causes ?? [],
      permanent: PERMANENT.has(status) || (status === 500 && UNDECLARED.test(said)),
      retryAfter: seconds > 0 ? seconds * 1000 : undefined,
    });
  },
  /** From the object of a watch's ERROR event. */
  event(object: unknown): KubeError {
    const code = (object as Status | undefined)?.code;
    return kubeErrors.answer(typeof code === "number" ? code : 500, JSON.stringify(object ?? null));
  },
  unreachable: unanswered("Unreachable"),
  timedOut: unanswered("TimedOut"),
  badAnswer: unanswered("BadAnswer"),
  /** No API of that kind is served (yet): its CRD may come. */
  unknownKind: unanswered("UnknownKind", 404),
  /** This process leads no longer, so it writes no longer. */
  notLeading: unanswered("NotLeading"),
} as const;

export const isConflict = (error: unknown): boolean => error instanceof KubeError && error.status === 409;
export const isGone = (error: unknown): boolean => error instanceof KubeError && error.status === 410;
