export interface Parameters {
  readonly value: string;
  /** Names in lower case; the first of equal ones counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const VALUE = /^\s*([\w!#$%&'*+.^`|~/-]+)\s*/;
const PARAMETER = /;\s*(?:([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*)?/y;

/**
 * A header value with parameters, as Content-Type and Content-Disposition have them: `form-data; name="file"`. Undefined when
 * it is malformed. Quoted strings are read as quoted strings, so that a file's name can't pass for a field's.
 */
export function parseParameters(header: string): Parameters | undefined {
  const match = VALUE.exec(header);
  if (!match) return undefined;
  const parameters = new Map<string, string>();
  for (PARAMETER.lastIndex = match[0].length; PARAMETER.lastIndex < header.length; ) {
    const [, name, quoted, token] = PARAMETER.exec(header) ?? [];
    // exec resets lastIndex when it finds nothing.
    if (PARAMETER.lastIndex === 0) return undefined;
    if (name !== undefined && !parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? token ?? "");
  }
  return { value: match[1]!, parameters };
}
