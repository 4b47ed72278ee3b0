# NixOS: services.stowhouse. README.md beside this file says how it is used.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  cfg = config.services.stowhouse;
  format = pkgs.formats.json { };

  settings = lib.recursiveUpdate { data = cfg.dataDir; } cfg.settings;
  file = format.generate "stowhouse.json" settings;

  # The number behind the last colon of host:port.
  portOf = address: builtins.fromJSON (builtins.head (builtins.match ".*:0*([0-9]+)" address));
  caches = builtins.attrValues (settings.protocols.nix.caches or { });
  ports = map portOf ([ (settings.listen or "127.0.0.1:8420") ] ++ builtins.concatMap (cache: if cache ? listen then [ cache.listen ] else [ ]) caches);
in
{
  options.services.stowhouse = {
    enable = mkEnableOption "Stowhouse, a remote build cache for every build tool";

    package = mkOption {
      type = types.package;
      default = pkgs.stowhouse or (pkgs.callPackage ./package.nix { });
      defaultText = "package.nix, of the bundle in build/";
      description = "Its bin/stowhouse is the server.";
    };

    settings = mkOption {
      type = format.type;
      default = { };
      example = {
        listen = "0.0.0.0:8420";
        url = "https://cache.example.com";
        caches.default.quota = "200GiB";
      };
      description = "The configuration, as server/CONFIG.md has it. It lies in the store for everybody to read: secrets belong into environmentFile.";
    };

    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/stowhouse";
      description = "File with variables for what is secret, like STOWHOUSE_ADMIN_KEY and STOWHOUSE_DATABASE_URL.";
    };

    user = mkOption {
      type = types.str;
      default = "stowhouse";
      description = "Who it runs as; made when it is called stowhouse.";
    };

    group = mkOption {
      type = types.str;
      default = "stowhouse";
      description = "Its group; made when it is called stowhouse.";
    };

    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/stowhouse";
      description = "Where it keeps its data: the one directory it can write to, beside those of settings.storages.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the ports of settings.listen and of single Nix caches are opened.";
    };
  };

  config = mkIf cfg.enable {
    systemd.tmpfiles.rules = [ "d '${cfg.dataDir}' 0700 ${cfg.user} ${cfg.group} - -" ];

    systemd.services.stowhouse = {
      description = "Stowhouse, a remote build cache";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      # Nix's older NARs are compressed with these; without them they are taken unverified.
      path = [ pkgs.xz pkgs.bzip2 ];

      # As in the image: nobody's rights, and nothing that can be written to but the data.
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/stowhouse serve --config ${file}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        User = cfg.user;
        Group = cfg.group;
        WorkingDirectory = cfg.dataDir;
        Restart = "on-failure";
        # It ends by itself after settings.shutdown.delay and drain, which are no longer.
        TimeoutStopSec = "70min";
        UMask = "0077";
        LimitNOFILE = 65536;

        ReadWritePaths = [ cfg.dataDir ] ++ builtins.filter (path: path != null) (map (storage: storage.path or null) (builtins.attrValues (settings.storages or { })));
        AmbientCapabilities = if builtins.any (port: port < 1024) ports then [ "CAP_NET_BIND_SERVICE" ] else [ ];
        CapabilityBoundingSet = if builtins.any (port: port < 1024) ports then [ "CAP_NET_BIND_SERVICE" ] else [ "" ];
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallErrorNumber = "EPERM";
        SystemCallFilter = [ "@system-service" "~@privileged" ];
      } // (if cfg.environmentFile == null then { } else { EnvironmentFile = cfg.environmentFile; });
    };

    users.users = if cfg.user != "stowhouse" then { } else {
      stowhouse = {
        isSystemUser = true;
        group = cfg.group;
        home = cfg.dataDir;
      };
    };
    users.groups = if cfg.group != "stowhouse" then { } else { stowhouse = { }; };

    networking.firewall.allowedTCPPorts = if cfg.openFirewall then ports else [ ];
  };
}
