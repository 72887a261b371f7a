-- A node holds up to 8 connections, and one for each worker: three nodes of 16 workers have 72.
-- On the primary, as its administrator, by psql. \password asks for the password, and does not write it into the log.
CREATE ROLE mailagent LOGIN CONNECTION LIMIT 80;
\password mailagent
CREATE DATABASE mailagent OWNER mailagent ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE mailagent FROM PUBLIC;
