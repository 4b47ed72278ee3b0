import type { Answer } from "../client/exchange.ts";
import { ExchangeError } from "../client/patience.ts";

/** How often one body is continued. */
const RESUMES = 3;

/** What is left of a body that broke off. */
export interface Rest {
  readonly range: string;
  /** Whether an answer is exactly that. */
  readonly is: (answer: Answer) => boolean;
  /** Whether its sender broke off; else it fell silent. */
  readonly cut: boolean;
}

/**
 * An answer whose body goes on where it broke off. Only what has a strong ETag and a known length can be continued, since
 * nothing else says that the rest belongs to the beginning. @param more asks for the rest; undefined when nobody has it
 */
export function resuming(answer: Answer, more: (rest: Rest) => Promise<Answer | undefined>): Answer {
  const span = spanOf(answer);
  if (!span) return answer;
  const { etag, end } = span;
  async function* body(): AsyncGenerator<Buffer> {
    let current = answer;
    let at = span!.start;
    for (let left = RESUMES; ; left--) {
      try {
        for await (const chunk of current.body) {
          at += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        if (at >= end || left === 0 || !(error instanceof ExchangeError)) throw error;
        const from = at;
        const is = (next: Answer) => {
          const found = spanOf(next);
          return next.status === 206 && found?.etag === etag && found.start === from && found.end === end;
        };
        const next = await more({ range: `bytes=${from}-${end - 1}`, is, cut: !error.message.startsWith("nothing moved") });
        if (!next) throw error;
        current = next;
      }
    }
  }
  return { status: answer.status, headers: answer.headers, body: body(), text: (limit) => answer.text(limit), discard: () => answer.discard() };
}

/** Bytes [start, end) of what has this ETag. */
function spanOf({ status, headers }: Answer): { etag: string; start: number; end: number } | undefined {
  const { etag } = headers;
  if (!etag?.startsWith('"')) return undefined;
  const length = Number(headers["content-length"] ?? Number.NaN);
  if (status === 200) return Number.isNaN(length) ? undefined : { etag, start: 0, end: length };
  const [, first, last] = (status === 206 && /^bytes (\d{1,15})-(\d{1,15})\//.exec(headers["content-range"] ?? "")) || [];
  return first === undefined ? undefined : { etag, start: Number(first), end: Number(last) + 1 };
}
