import type { Command } from "commander";
import { registerAuditCommand } from "./audit.ts";
import type { Io } from "./io.ts";
import { registerKeyCommands } from "./key.ts";
import { registerLsCommand } from "./ls.ts";
import { registerRmCommand } from "./rm.ts";
import { registerStatsCommand } from "./stats.ts";
import { registerUpkeepCommands } from "./upkeep.ts";

/** The commands that administer a server, on this machine or another, over its admin API. */
export function registerAdminCommands(program: Command, io: Io): void {
  registerStatsCommand(program, io);
  registerLsCommand(program, io);
  registerRmCommand(program, io);
  registerKeyCommands(program, io);
  registerUpkeepCommands(program, io);
  registerAuditCommand(program, io);
}
