import { parseParameters } from "./parameters.ts";

/** A part begins; its data follows as Buffers until the next part or the end. */
export interface PartHead {
  /** The form field's name. */
  readonly name: string;
}
export type FormEvent = PartHead | Buffer;

/** The body is not the form it says it is, or has more of something than allowed. */
export class MultipartError extends Error {}

export interface FormLimits {
  readonly parts: number;
  /** Header lines of one part. */
  readonly headers: number;
  /** Bytes of one part's headers. */
  readonly headerBytes: number;
  /** Bytes outside of any part: before the first boundary and after the last. */
  readonly strayBytes: number;
}

export const FORM_LIMITS: FormLimits = { parts: 16, headers: 16, headerBytes: 8 * 1024, strayBytes: 4 * 1024 };

const EMPTY = Buffer.alloc(0);
const CRLF = Buffer.from("\r\n");
const HEADERS_END = Buffer.from("\r\n\r\n");
const CR = 0x0d;
const DASH = 0x2d;

/**
 * A streaming multipart/form-data parser (RFC 7578, RFC 2046 §5.1.1). Pure: chunks in, events out, and however the bytes
 * are cut, the same parts with the same data. Between two chunks it keeps one header block or less than one boundary.
 */
export class FormParser {
  readonly #delimiter: Buffer;
  readonly #limits: FormLimits;
  #state: "preamble" | "boundary" | "data" | "epilogue" = "preamble";
  // As if a line had ended just before the body: then the first boundary is found like every other.
  #bytes: Buffer = CRLF;
  #at = 0;
  #parts = 0;
  #stray = 0;

  /** @param boundary from boundaryOf */
  constructor(boundary: string, limits: FormLimits = FORM_LIMITS) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
    this.#limits = limits;
  }

  /** Whether the closing boundary was seen. */
  get complete(): boolean {
    return this.#state === "epilogue";
  }

  /** What these bytes bring. Data is a view of the chunk where that is possible. @throws MultipartError */
  push(chunk: Buffer): FormEvent[] {
    const events: FormEvent[] = [];
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    while (this.#at < this.#bytes.length && this.#step(events));
    this.#bytes = this.#at === this.#bytes.length ? EMPTY : this.#bytes.subarray(this.#at);
    this.#at = 0;
    return events;
  }

  /** Takes one piece; false when it needs more bytes to go on. */
  #step(events: FormEvent[]): boolean {
    if (this.#state === "boundary") return this.#head(events);
    if (this.#state === "epilogue") return this.#skip(this.#bytes.length);
    const found = this.#bytes.indexOf(this.#delimiter, this.#at);
    const end = found === -1 ? this.#bytes.length - this.#cutDelimiter() : found;
    if (this.#state === "preamble") this.#skip(end);
    else if (end > this.#at) events.push(this.#bytes.subarray(this.#at, end));
    this.#at = end;
    if (found === -1) return false;
    this.#at += this.#delimiter.length;
    this.#state = "boundary";
    return true;
  }

  /** How many of the last bytes may be the beginning of a delimiter. Only its first byte is a CR, so the last CR decides. */
  #cutDelimiter(): number {
    const tail = this.#bytes.subarray(Math.max(this.#at, this.#bytes.length - this.#delimiter.length + 1));
    const cr = tail.lastIndexOf(CR);
    if (cr === -1) return 0;
    const length = tail.length - cr;
    return tail.compare(this.#delimiter, 0, length, cr) === 0 ? length : 0;
  }

  /** What follows a delimiter: `--` and the end, or a line break and a part's headers. */
  #head(events: FormEvent[]): boolean {
    const [bytes, at] = [this.#bytes, this.#at];
    if (bytes.length - at < 2) return false;
    if (bytes[at] === DASH && bytes[at + 1] === DASH) {
      this.#at += 2;
      this.#state = "epilogue";
      return true;
    }
    const end = bytes.indexOf(HEADERS_END, at);
    if ((end === -1 ? bytes.length : end) - at > this.#limits.headerBytes) throw new MultipartError("a part's headers are too long");
    if (end === -1) return false;
    if (++this.#parts > this.#limits.parts) throw new MultipartError(`it has more than ${this.#limits.parts} parts`);
    events.push(parseHead(bytes.toString("latin1", at, end), this.#limits.headers));
    this.#at = end + HEADERS_END.length;
    this.#state = "data";
    return true;
  }

  #skip(end: number): boolean {
    this.#stray += end - this.#at;
    if (this.#stray > this.#limits.strayBytes) throw new MultipartError("it has too many bytes outside of its parts");
    this.#at = end;
    return false;
  }
}

function parseHead(block: string, maxHeaders: number): PartHead {
  const [padding, ...lines] = block.split("\r\n");
  if (!/^[ \t]*$/.test(padding!)) throw new MultipartError("a boundary is followed by something else than a line break");
  if (lines.length > maxHeaders) throw new MultipartError(`a part has more than ${maxHeaders} headers`);
  let name: string | undefined;
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new MultipartError("a part has a broken header");
    const value = line.slice(colon + 1);
    switch (line.slice(0, colon).toLowerCase()) {
      case "content-disposition":
        name = fieldName(value);
        break;
      case "content-transfer-encoding":
        // RFC 7578 §4.7 forbids them; storing the encoded bytes would be worse than refusing.
        if (!/^\s*(?:binary|7bit|8bit)\s*$/i.test(value)) throw new MultipartError("a part has a Content-Transfer-Encoding");
    }
  }
  if (name === undefined) throw new MultipartError("a part has no name");
  return { name };
}

function fieldName(disposition: string): string | undefined {
  const parsed = parseParameters(disposition);
  return parsed?.value.toLowerCase() === "form-data" ? parsed.parameters.get("name") : undefined;
}

/** The boundary of a multipart/form-data content type; undefined for any other. @throws MultipartError when it has none */
export function boundaryOf(contentType: string | undefined): string | undefined {
  const parsed = parseParameters(contentType ?? "");
  if (parsed?.value.toLowerCase() !== "multipart/form-data") return undefined;
  const boundary = parsed.parameters.get("boundary") ?? "";
  if (!/^[\x20-\x7e]{0,199}[\x21-\x7e]$/.test(boundary)) throw new MultipartError("its Content-Type has no valid boundary");
  return boundary;
}
