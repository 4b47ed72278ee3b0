import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { run, tool } from "../fixtures/tools.ts";

/** The Debian release whose Nix it is; the machine's own one has an older. */
const RELEASE = "forky";
const PACKAGES = ["nix-bin", "dash", "coreutils", "xz-utils", "bzip2"];
const KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MINUTES = 60_000;
const DIRECTORIES = ["bin", "sbin", "lib", "lib64"];

/** A root directory in which a current Nix runs, of packages of a newer Debian, unpacked and not installed. */
export function newerNix(): Promise<string> {
  return tool(`nix-${RELEASE}-1`, async (making) => {
    const apt = path.join(making, "apt");
    for (const folder of ["state/lists/partial", "cache/archives/partial"]) await mkdir(path.join(apt, folder), { recursive: true });
    // From where the machine itself has its packages.
    const { stdout } = await run("apt-get", ["indextargets", "--format", "$(LABEL) $(SITE)"]);
    const mirror = /^Debian (\S+)$/m.exec(stdout)?.[1];
    if (mirror === undefined) throw new Error("apt knows no mirror of Debian: apt-get update has to run first");
    await writeFile(path.join(apt, "status"), "");
    await writeFile(path.join(apt, "sources.list"), `deb [signed-by=${KEYS}] ${mirror} ${RELEASE} main\n`);
    const own = { "Dir::State": "state", "Dir::State::status": "status", "Dir::Cache": "cache", "Dir::Etc::sourcelist": "sources.list" };
    const options = [
      ...Object.entries(own).map(([name, file]) => `${name}=${path.join(apt, file)}`),
      "Dir::Etc::sourceparts=/dev/null", "Dir::Etc::preferencesparts=/dev/null", "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
    ].flatMap((option) => ["-o", option]);
    await run("apt-get", [...options, "-q", "update"], { timeout: 5 * MINUTES });
    await run("apt-get", [...options, "-qqy", "install", "--no-install-recommends", "--download-only", ...PACKAGES], { timeout: 5 * MINUTES, maxBuffer: 1 << 24 });
    const archives = path.join(apt, "cache", "archives");
    for (const file of await readdir(archives)) {
      if (file.endsWith(".deb")) await run("dpkg-deb", ["-x", path.join(archives, file), making], { timeout: MINUTES });
    }
    await rm(apt, { recursive: true });
    // What Debian's base-files makes when it is installed.
    for (const name of DIRECTORIES) await symlink(`usr/${name}`, path.join(making, name)).catch(() => {});
    for (const name of ["proc", "dev", "nix", "tmp"]) await mkdir(path.join(making, name), { recursive: true });
  });
}
