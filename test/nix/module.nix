# Evaluates nix/module.nix with a stand-in for those parts of nixpkgs that it uses: options have types that are checked, and
# defaults; nobody but the user sets one. Everything else is refused, so that the module can't lean on what is not here.
{ user }:
let
  type = name: check: { inherit name check; };
  types = {
    bool = type "true or false" builtins.isBool;
    str = type "text" builtins.isString;
    path = type "an absolute path" (value: builtins.isPath value || (builtins.isString value && builtins.substring 0 1 value == "/"));
    package = type "a package" (value: value ? outPath);
    nullOr = inner: type "${inner.name}, or null" (value: value == null || inner.check value);
  };
  json = type "what JSON can hold" (value:
    if builtins.isAttrs value then builtins.all json.check (builtins.attrValues value)
    else if builtins.isList value then builtins.all json.check value
    else value == null || builtins.any (is: is value) [ builtins.isString builtins.isInt builtins.isBool builtins.isFloat ]);

  lib = {
    inherit types;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption = description: { _type = "option"; type = types.bool; default = false; inherit description; };
    mkIf = condition: content: if condition then content else { };
    recursiveUpdate = one: other: one // builtins.mapAttrs
      (name: value: if builtins.isAttrs value && builtins.isAttrs (one.${name} or null) then lib.recursiveUpdate one.${name} value else value)
      other;
  };

  pkgs = {
    formats.json = { }: { type = json; generate = name: value: builtins.toFile name (builtins.toJSON value); };
    stowhouse.outPath = "/package";
    xz.outPath = "/xz";
    bzip2.outPath = "/bzip2";
    coreutils.outPath = "/coreutils";
  };

  module = import ../../nix/module.nix { inherit lib pkgs; config.services.stowhouse = values; };
  options = module.options.services.stowhouse;
  values = builtins.mapAttrs
    (name: option:
      let value = user.${name} or option.default;
      in if !(option ? description) then throw "the option ${name} says nothing of itself"
      else if option.type.check value then value
      else throw "services.stowhouse.${name}: expected ${option.type.name}")
    options;
  unknown = builtins.filter (name: !(options ? ${name})) (builtins.attrNames user);
in
if unknown != [ ] then throw "there is no option services.stowhouse.${builtins.head unknown}"
# What is not used is checked, too.
else builtins.deepSeq (removeAttrs values [ "package" ]) module.config
