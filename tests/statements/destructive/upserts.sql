-- Inserts, updates and merges that change something else than one thinks.

-- case: an insert into a table of nobody's business
INSERT INTO hr.audit VALUES (3)

-- case: an insert of what may be read
INSERT INTO hr.audit SELECT id FROM app.customers

-- case: an insert of defaults
INSERT INTO hr.audit DEFAULT VALUES

-- case: an insert that overrides what is generated
INSERT INTO hr.people (id, name, salary) OVERRIDING USER VALUE VALUES (9, 'x', 1)

-- case: an insert by a view
INSERT INTO hr.everybody (id, name, salary) VALUES (9, 'x', 1)

-- case: an upsert that updates
INSERT INTO hr.people (id, name, salary) VALUES (1, 'x', 1) ON CONFLICT (id) DO UPDATE SET salary = 0

-- case: an upsert by a constraint's name
INSERT INTO hr.people (id, name, salary) VALUES (1, 'x', 1) ON CONFLICT ON CONSTRAINT people_pkey DO UPDATE SET salary = excluded.salary

-- case: an update FROM what may be read
UPDATE hr.people p SET salary = c.id FROM app.customers c WHERE c.id = p.id

-- case: an update whose alias is a table that may be changed
UPDATE hr.people AS orders SET salary = 0 WHERE orders.id = 1

-- case: a deletion whose alias is a table that may be changed
DELETE FROM hr.people AS orders WHERE orders.id = 1

-- case: an update by a view
UPDATE hr.everybody SET salary = 0 WHERE id = 1

-- case: a deletion by a view
DELETE FROM hr.everybody WHERE id = 1

-- case: an update of a parent, and of its children
UPDATE hr.parent SET n = 0 WHERE n > 0

-- case: an update of a child
UPDATE hr.child SET n = 0 WHERE n = 2

-- case: ONLY the parent
UPDATE ONLY hr.parent SET n = 0 WHERE n = 1

-- case: ONLY in parentheses
DELETE FROM ONLY (hr.parent) WHERE n = 1

-- case: a star behind the table
DELETE FROM hr.parent * WHERE n > 0

-- case: a merge that deletes
MERGE INTO hr.people p USING app.customers c ON p.id = c.id WHEN MATCHED THEN DELETE

-- case: a merge that updates
MERGE INTO hr.people AS orders USING (VALUES (1)) v (id) ON orders.id = v.id WHEN MATCHED THEN UPDATE SET salary = 0

-- case: a merge that inserts
MERGE INTO hr.audit a USING (VALUES (7)) v (n) ON a.n = v.n WHEN NOT MATCHED THEN INSERT (n) VALUES (v.n)

-- case: an update of one row of a table of nobody's business
UPDATE hr.people SET salary = 0 WHERE id = 1

-- case: a deletion of one row
DELETE FROM hr.people WHERE id = 1

-- case: a deletion by its place
DELETE FROM hr.people WHERE ctid = '(0,1)'

-- case: several columns from a subquery
UPDATE hr.people SET (name, salary) = (SELECT 'x', 0) WHERE id = 1

-- case: a whole row from DEFAULT
UPDATE hr.audit SET at = DEFAULT, n = 0 WHERE n = 1

-- case: SELECT FOR UPDATE, then the change
SELECT * FROM hr.people WHERE id = 1 FOR UPDATE
-- then
UPDATE hr.people SET salary = 0 WHERE id = 1
