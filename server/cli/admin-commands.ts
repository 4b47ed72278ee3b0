import type { Command } from "commander";
import { registerAuditCommand } from "./audit.ts";
import type { Io } from "./io.ts";
import { registerKeyCommands } from "./key.ts";
import { registerLsCommand } from "./ls.ts";
import { registerNixCommands } from "./nix.ts";
import { registerRmCommand } from "./rm.ts";
import { registerStatsCommand } from "./stats.ts";
import { registerUpkeepCommands } from "./upkeep.ts";

/** The commands that administer a server, on this machine or another, over its admin API. Returns those that others add to. */
export function registerAdminCommands(program: Command, io: Io): { readonly ls: Command } {
  registerStatsCommand(program, io);
  const ls = registerLsCommand(program, io);
  registerRmCommand(program, io);
  registerKeyCommands(program, io);
  registerUpkeepCommands(program, io);
  registerNixCommands(program, io);
  registerAuditCommand(program, io);
  return { ls };
}
