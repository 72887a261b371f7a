-- On the primary, as its administrator, by psql. \password asks for the password, and does not write it into the log.
CREATE ROLE mailagent LOGIN CONNECTION LIMIT 60;
\password mailagent
CREATE DATABASE mailagent OWNER mailagent ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE mailagent FROM PUBLIC;
