/** The only errors that fail a job: those its author asked for. Everything else is a warning. */
export class Failure extends Error {}
