{
  description = "One self-hosted remote build cache for every build tool";

  outputs = { self }: { nixosModules.default = ./nix/module.nix; };
}
