import { isUtf8 } from "node:buffer";
import { errors } from "../../core/errors.ts";
import { FormParser, MultipartError, type FormEvent } from "./multipart.ts";

/** Longest metadata, bytes. */
export const MAX_METADATA = 1024 * 1024;
/** Bytes of fields we don't know; they are read over. */
const MAX_UNKNOWN = 64 * 1024;

/**
 * An upload as it arrives: hands on the bytes of the part `file` and keeps the part `metadata` (a text field or a file,
 * before or after). The file's stream ends well only when the whole form was read and found valid, so nothing of a broken
 * form is ever stored.
 */
export class UploadForm {
  readonly #parser: FormParser;
  readonly #seen = new Set<string>();
  readonly #kept: Buffer[] = [];
  #keptBytes = 0;
  #unknownBytes = 0;
  #metadata: string | undefined;

  /** @param boundary from boundaryOf */
  constructor(boundary: string) {
    this.#parser = new FormParser(boundary);
  }

  /** The file's bytes. @throws badRequest for anything but one file and one metadata of JSON, tooLarge */
  async *file(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let part = "";
    for await (const chunk of body) {
      for (const event of this.#parse(chunk)) {
        if (!Buffer.isBuffer(event)) part = this.#begin(event.name);
        else if (part === "file") yield event;
        else this.#keep(part, event);
      }
    }
    if (!this.#parser.complete) throw errors.badRequest("the form ends before its closing boundary");
    for (const name of ["file", "metadata"]) if (!this.#seen.has(name)) throw errors.badRequest(`the form has no part named "${name}"`);
    this.#metadata = jsonText(Buffer.concat(this.#kept));
  }

  /** The metadata as its sender wrote it, once the file has ended. */
  get metadata(): string {
    if (this.#metadata === undefined) throw new Error("the form was not read yet");
    return this.#metadata;
  }

  #parse(chunk: Buffer): FormEvent[] {
    try {
      return this.#parser.push(chunk);
    } catch (error) {
      throw error instanceof MultipartError ? errors.badRequest(error.message) : error;
    }
  }

  #begin(name: string): string {
    // Of two files one would be lost in silence.
    if ((name === "file" || name === "metadata") && this.#seen.has(name)) throw errors.badRequest(`the form has several parts named "${name}"`);
    this.#seen.add(name);
    return name;
  }

  #keep(part: string, bytes: Buffer): void {
    if (part === "metadata") {
      this.#keptBytes += bytes.length;
      if (this.#keptBytes > MAX_METADATA) throw errors.tooLarge(`${MAX_METADATA} bytes of metadata`);
      this.#kept.push(bytes);
    } else {
      this.#unknownBytes += bytes.length;
      if (this.#unknownBytes > MAX_UNKNOWN) throw errors.badRequest("the form holds too much besides file and metadata");
    }
  }
}

function jsonText(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  try {
    JSON.parse(text);
    if (isUtf8(bytes)) return text;
  } catch {
    // Answered below, like text in another encoding.
  }
  throw errors.badRequest("the metadata is not JSON in UTF-8");
}
