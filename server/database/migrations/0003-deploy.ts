/**
 * Cachix Deploy: agents of workspaces, what they were told to activate, and what they said of it. `session` is the connection
 * an agent has now, and the one a deployment was sent over; `heard` is when its agent was last heard of while it ran. A key's
 * `deploy` says in JSON what it may do in a workspace.
 */
export default `
ALTER TABLE keys ADD COLUMN deploy $TEXT;

CREATE TABLE deploy_agents (
  id $TEXT PRIMARY KEY,
  workspace $TEXT NOT NULL,
  name $TEXT NOT NULL,
  system $TEXT,
  version $TEXT,
  session $TEXT,
  seen $INT,
  deployments $INT NOT NULL
);
CREATE UNIQUE INDEX deploy_agents_name ON deploy_agents (workspace, name);

CREATE TABLE deployments (
  id $TEXT PRIMARY KEY,
  agent $TEXT NOT NULL,
  number $INT NOT NULL,
  path $TEXT NOT NULL,
  rollback $TEXT,
  closure $INT,
  status $TEXT NOT NULL,
  created $INT NOT NULL,
  started $INT,
  finished $INT,
  session $TEXT,
  sent $INT,
  heard $INT
);
CREATE INDEX deployments_agent ON deployments (agent, status);
CREATE INDEX deployments_status ON deployments (status, heard);
CREATE INDEX deployments_created ON deployments (created);

CREATE TABLE deployment_logs (
  deployment $TEXT NOT NULL,
  position $INT NOT NULL,
  size $INT NOT NULL,
  lines $TEXT NOT NULL,
  PRIMARY KEY (deployment, position)
);
`;
