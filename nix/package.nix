# The server and its command, of the bundle that `npm ci && npm run build` makes: it needs nothing but Node.
{ lib, stdenvNoCC, makeWrapper, nodejs_24, xz, bzip2, bundle ? ../build }:
assert lib.assertMsg (builtins.pathExists (bundle + "/server.mjs")) "nix/package.nix: run `npm ci && npm run build` first, or give the directory of another build as `bundle`";
stdenvNoCC.mkDerivation {
  pname = "stowhouse";
  version = (lib.importJSON ../package.json).version;
  src = bundle;
  dontBuild = true;

  nativeBuildInputs = [ makeWrapper ];
  # Nix's older NARs are compressed with these two; without them they are taken unverified.
  installPhase = ''
    mkdir -p $out/lib/stowhouse/build
    cp -r . $out/lib/stowhouse/build
    cp ${../package.json} $out/lib/stowhouse/package.json
    makeWrapper ${nodejs_24}/bin/node $out/bin/stowhouse --set NODE_ENV production --prefix PATH : ${lib.makeBinPath [ xz bzip2 ]} \
      --add-flags "--max-semi-space-size=2 $out/lib/stowhouse/build/server.mjs"
  '';

  meta = {
    description = "One self-hosted remote build cache for every build tool";
    license = lib.licenses.asl20;
    mainProgram = "stowhouse";
  };
}
