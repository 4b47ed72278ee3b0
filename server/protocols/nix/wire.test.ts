import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatSha256, parseHash, parseSha256 } from "./hash.ts";
import { parsePublicKey, parseSecretKey, SecretKey } from "./keys.ts";
import { narUrl, parseNarName, parseNarUrl, resolveNarUrl } from "./nar-url.ts";
import { fromNix32, toNix32 } from "./nix32.ts";
import { addresses, isContentAddress, parseBaseName } from "./store-path.ts";
import { WireError } from "../wire.ts";

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size }).map((array) => Buffer.from(array));

describe("nix32", () => {
  // As `nix hash to-base32` says it.
  test.each([
    ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"],
    ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"],
  ])("of %s is %s", (hex, text) => {
    expect(toNix32(Buffer.from(hex, "hex"))).toBe(text);
  });

  test("of any bytes is read back, and there is one text for each", () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 70 }), (array) => {
      const text = toNix32(array);
      expect(fromNix32(text, array.length)).toEqual(Buffer.from(array));
    }));
    fc.assert(fc.property(fc.stringMatching(/^[0-9a-df-np-sv-z]{52}$/), (text) => {
      const read = fromNix32(text, 32);
      if (read) expect(toNix32(read)).toBe(text);
      else expect(Number.parseInt(text[0]!, 36)).toBeGreaterThan(1);
    }));
  });

  test("is not read from other lengths or letters", () => {
    expect(fromNix32("e".repeat(52), 32)).toBeUndefined();
    expect(fromNix32("0".repeat(51), 32)).toBeUndefined();
    expect(fromNix32("z".repeat(52), 32)).toBeUndefined();
  });
});

describe("hashes", () => {
  test("are one, in whichever form they come", () => {
    fc.assert(fc.property(bytes(32), (digest) => {
      const hex = digest.toString("hex");
      for (const form of [`sha256:${hex}`, `sha256:${hex.toUpperCase()}`, `sha256:${toNix32(digest)}`, `sha256-${digest.toString("base64")}`, `sha256:${digest.toString("base64")}`]) {
        expect(parseSha256(form)).toBe(hex);
      }
      expect(formatSha256(hex)).toBe(`sha256:${toNix32(digest)}`);
    }));
  });

  test.each(["", "sha256", "sha256:", "sha256:00", `md5:${"0".repeat(64)}`, `sha256-${"0".repeat(64)}`, `sha256:${"A".repeat(43)}B`, `__proto__:${"0".repeat(64)}`, `sha257:${"0".repeat(64)}`])("are not read from %j", (text) => {
    expect(parseSha256(text)).toBeUndefined();
  });

  test("of other lengths are known for content addresses", () => {
    expect(parseHash(`sha1:${"0".repeat(40)}`)?.bytes.length).toBe(20);
    expect(parseHash(`sha512:${"0".repeat(128)}`)?.bytes.length).toBe(64);
  });
});

describe("names of store paths", () => {
  test.each(["g67ymbgjrixwch24001xyk1glc8hsbv5-stow-a", "g67ymbgjrixwch24001xyk1glc8hsbv5-a.drv", "g67ymbgjrixwch24001xyk1glc8hsbv5-?=+._-"])("%s is one", (text) => {
    expect(parseBaseName(text)?.hash).toBe("g67ymbgjrixwch24001xyk1glc8hsbv5");
  });

  test.each(["", "g67ymbgjrixwch24001xyk1glc8hsbv5", "g67ymbgjrixwch24001xyk1glc8hsbv5-", "g67ymbgjrixwch24001xyk1glc8hsbv5-..", "e67ymbgjrixwch24001xyk1glc8hsbv5-a", "g67ymbgjrixwch24001xyk1glc8hsbv5-a/b", "g67ymbgjrixwch24001xyk1glc8hsbv5-a\n", `g67ymbgjrixwch24001xyk1glc8hsbv5-${"a".repeat(212)}`, "g67ymbgjrixwch24001xyk1glc8hsbv5-é"])("%j is none", (text) => {
    expect(parseBaseName(text)).toBeUndefined();
  });
});

describe("a content address", () => {
  const path = (storePath: string, ...references: string[]) => ({ storeDir: "/nix/store", storePath, references });
  // Made by Nix 2.8: a text with a reference, a flat fixed output, a floating output with a reference.
  const TEXT = ["text:sha256:1zqwv82j7a7qwhqjpbh5w0i9la2ymc8dww58sm63gdq2p684iivs", path("233cdxfkhhg8k5ymrnibmkmdmpvgps56-stow-text", "wjzw4rd1fgnwa0mvwfdifdlca4zk8v04-stow-text2")] as const;
  const FLAT = ["fixed:sha256:0qzcqxf0ggq1xqnc5qi44as7hjrwzld47lb3i47gd7si5lkjzjwn", path("96lijxbldg91ppv0vgmjcms5bqma6bzh-stow-fod")] as const;
  const TREE = ["fixed:r:sha256:05kk0nvyzi0j6i46bir1znzhl7hs5dxfck5m75pm88jb9bqm6hhr", path("ihg4h3rpkbz9z52vmz9p3mavsgckg4v8-stow-ca", "g67ymbgjrixwch24001xyk1glc8hsbv5-stow-a")] as const;

  test.each([TEXT, FLAT, TREE])("%s names the path Nix gave it", (ca, of) => {
    expect(isContentAddress(ca)).toBe(true);
    expect(addresses(ca, of)).toBe(true);
  });

  test.each([
    ["of another path", TEXT[0], FLAT[1]],
    ["with other references", TREE[0], path("ihg4h3rpkbz9z52vmz9p3mavsgckg4v8-stow-ca")],
    ["of another kind", FLAT[0].replace("fixed:", "fixed:r:"), FLAT[1]],
    ["of other contents", TREE[0].replace("sha256:05", "sha256:06"), TREE[1]],
    ["of another store", TREE[0], { ...TREE[1], storeDir: "/gnu/store" }],
    ["that is none", "nonsense", FLAT[1]],
  ])("%s is forged", (_, ca, of) => {
    expect(addresses(ca, of)).toBe(false);
  });

  test("of a git tree can't be judged", () => {
    expect(addresses(`fixed:git:sha1:${"0".repeat(40)}`, FLAT[1])).toBeUndefined();
  });

  test.each(["", "fixed:", "text:sha1:00", `text:r:sha256:${"0".repeat(64)}`, "fixed:r:sha256:zz", "fixed:x:sha256:00"])("is not read from %j", (ca) => {
    expect(isContentAddress(ca)).toBe(false);
  });
});

describe("keys", () => {
  // Generated by `nix-store --generate-binary-cache-key`, for this test alone.
  const SECRET = "stowhouse-test-1:tiOTWFSP/BAmPAOtl4I5JuJnkJHLQG2CenxFEw/Ca52W5nM3pyJW9zm+5x1P63MvA0PRdtMOAg4CiBLCMfB53Q==";

  test("sign what their public half verifies, and nothing else", () => {
    fc.assert(fc.property(bytes(32), fc.string(), fc.string(), (seed, text, other) => {
      const key = new SecretKey("k-1", seed);
      const signature = key.sign(text);
      expect(parsePublicKey(key.public.text).verifies(text, signature)).toBe(true);
      expect(key.public.verifies(other, signature)).toBe(text === other);
      expect(key.public.verifies(text, signature.replace("k-1", "k-2"))).toBe(false);
    }), { numRuns: 20 });
  });

  test("sign as Nix does, to the byte", () => {
    const text = "1;/nix/store/wjzw4rd1fgnwa0mvwfdifdlca4zk8v04-stow-text2;sha256:1d712nw4dcndx9pwb9xh5y6rh0map5kmw88hp5fqagzln4c92a4g;120;";
    expect(parseSecretKey(SECRET).sign(text)).toBe("stowhouse-test-1:arPuGSrqLUTW0pNkJBBOgFiaoHSAMPdsnKPjD+S8iXQVL1TddS9Nl0cZ+O9ozp7HbjAzOygz/NtXOkeEvkLiAw==");
  });

  test("are told by their own public half", () => {
    expect(parseSecretKey(SECRET).public.text).toBe("stowhouse-test-1:luZzN6ciVvc5vucdT+tzLwND0XbTDgIOAogSwjHwed0=");
    const spoilt = Buffer.from(SECRET.split(":")[1]!, "base64").fill(0, 40);
    expect(() => parseSecretKey(`stowhouse-test-1:${spoilt.toString("base64")}`)).toThrow(WireError);
  });

  test.each(["", "k", ":AA==", "k:AA==", `k 1:${Buffer.alloc(64).toString("base64")}`])("are not read from %j", (text) => {
    expect(() => parseSecretKey(text)).toThrow(WireError);
    expect(() => parsePublicKey(text)).toThrow(WireError);
  });

  test("whatever stands for a signature, it is only no signature", () => {
    const key = new SecretKey("k-1", Buffer.alloc(32, 7)).public;
    fc.assert(fc.property(fc.string(), (text) => void expect(key.verifies("x", text)).toBe(false)));
    fc.assert(fc.property(fc.base64String(), (text) => void expect(key.verifies("x", `k-1:${text}`)).toBe(false)));
  });
});

describe("URLs of NARs", () => {
  const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

  test("of ours name the file's hash", () => {
    fc.assert(fc.property(bytes(32), fc.constantFrom("none", "xz", "zstd", "bzip2", "br", "gzip"), (hash, compression) => {
      expect(parseNarUrl(narUrl(hash.toString("hex"), compression))).toBe(hash.toString("hex"));
    }));
    expect(parseNarName(`${digest}.nar.zst`)).toBe(digest);
  });

  test.each(["", "x.nar", `${digest}`, `${digest}.nar.`, `${digest}.nar/x`, `../${digest}.nar`, `${digest.toUpperCase()}.nar`, `${digest}.nar.xz?x=1`, `${"z".repeat(52)}.nar`])("of others are not ours: %s", (name) => {
    expect(parseNarName(name)).toBeUndefined();
  });

  test.each([
    ["https://c.example", "nar/x.nar.xz", "https://c.example/nar/x.nar.xz"],
    ["https://c.example/team/", "nar/x.nar?hash=y", "https://c.example/team/nar/x.nar?hash=y"],
    ["https://c.example/team", "../nar/x.nar", "https://c.example/nar/x.nar"],
    ["https://c.example", "nar/snix-castore/abc?narsize=3", "https://c.example/nar/snix-castore/abc?narsize=3"],
    ["https://c.example", "https://c.example/x", "https://c.example/x"],
    ["https://c.example", "https://cdn.example/x", "https://cdn.example/x"],
    ["http://c.example:81", "//c.example:81/x", "http://c.example:81/x"],
  ])("below %s, %s is %s", (cache, url, resolved) => {
    expect(resolveNarUrl(cache, url, ["cdn.example"]).href).toBe(resolved);
  });

  test.each([
    "", "https://evil.example/x", "//evil.example/x", "https://c.example:444/x", "http://c.example/x", "file:///etc/passwd", "https://a:b@c.example/x", "javascript:1", "nar\\..\\x",
    "nar/%2e%2e%2fx", "nar/x%00", "nar/%5cx", "nar/x y", "nar/\nx", "http://[::1", `nar/${"x".repeat(2048)}`,
  ])("%j leads nowhere", (url) => {
    expect(() => resolveNarUrl("https://c.example", url)).toThrow(WireError);
  });

  test("never lead to another host, whatever is written in them", () => {
    fc.assert(fc.property(fc.webUrl({ withQueryParameters: true }), fc.string(), (absolute, text) => {
      for (const url of [absolute, text, `//${text}`, `/${text}`]) {
        try {
          expect(resolveNarUrl("https://c.example/a", url).host).toBe("c.example");
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }
    }));
  });
});
