CREATE ROLE svc_agents LOGIN PASSWORD :'account_password';
CREATE ROLE ana LOGIN PASSWORD :'person_password';
CREATE SCHEMA sales;
CREATE TABLE sales.customers (id int PRIMARY KEY, name text NOT NULL, city text NOT NULL, ssn text NOT NULL);
INSERT INTO sales.customers VALUES
    (1, 'Ada Marsh', 'Leeds', '123-45-6789'),
    (2, 'Bruno Keller', 'Bern', '987-65-4321'),
    (3, 'Chidi Obi', 'Lagos', '555-12-3456');
CREATE TABLE sales.orders (id int PRIMARY KEY, customer int REFERENCES sales.customers, total numeric(10,2) NOT NULL);
INSERT INTO sales.orders SELECT n, 1 + n % 3, n * 9.90 FROM generate_series(1, 120) n;
GRANT USAGE ON SCHEMA sales TO svc_agents, ana;
-- The agent's account could do all of this: what stands between is policy.
GRANT ALL ON ALL TABLES IN SCHEMA sales TO svc_agents, ana;
ALTER TABLE sales.orders OWNER TO svc_agents;
