/** A configuration of another server: values by path, `cache.max-size`. */
export class Theirs {
  readonly #root: Record<string, unknown>;

  constructor(root: Record<string, unknown>) {
    this.#root = root;
  }

  /** Undefined: not given. */
  get(path: string): unknown {
    let value: unknown = this.#root;
    for (const name of path.split(".")) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
      value = (value as Record<string, unknown>)[name];
    }
    return value ?? undefined;
  }

  /** Paths of values that are not among the known ones, nor below one. */
  unread(known: readonly string[]): string[] {
    const paths: string[] = [];
    const visit = (value: unknown, path: string) => {
      if (known.includes(path)) return;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) {
        for (const [name, inner] of Object.entries(value)) visit(inner, path === "" ? name : `${path}.${name}`);
      } else if (value !== null && value !== undefined) paths.push(path);
    };
    visit(this.#root, "");
    return paths;
  }
}
