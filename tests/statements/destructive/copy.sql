-- COPY, both ways.

-- case: into a table of nobody's business
-- data: 7
COPY hr.audit (n) FROM STDIN

-- case: into one, in the old form
-- data: 7
COPY hr.audit (n) FROM stdin CSV

-- case: into one, with options
-- data: 7
COPY hr.audit (n) FROM STDIN WITH (FORMAT csv, HEADER false)

-- case: from the server's file
COPY app.old FROM '{files}/kept.txt'

-- case: from a program on the server
COPY app.old FROM PROGRAM 'echo 1'

-- case: to a file of the server's
COPY app.counters TO '{files}/mine.txt'

-- case: to a file of the server's that is there
COPY app.counters TO '{files}/kept.txt'

-- case: to a file by its name in unicode escapes
COPY app.counters TO U&'{files}/mine\002Etxt'

-- case: to a file by an E string
COPY app.counters TO E'{files}/mine\x2etxt'

-- case: of a query to a file
COPY (SELECT 1) TO '{files}/mine.txt'

-- case: of a query to a file, with options and comments
COPY /* to stdout */ (SELECT 1) TO /* STDOUT */ '{files}/mine.txt' WITH (FORMAT csv)

-- case: to a program on the server
COPY app.counters TO PROGRAM 'cat > {files}/mine.txt'

-- case: of a query to a program
COPY (SELECT 'x') TO PROGRAM 'tee {files}/mine.txt'

-- case: of a deletion to the client
COPY (DELETE FROM hr.people RETURNING *) TO STDOUT

-- case: of a deletion without WHERE to the client
COPY (DELETE FROM app.orders RETURNING id) TO STDOUT

-- case: of an update to the client
COPY (UPDATE hr.people SET salary = 0 RETURNING id) TO STDOUT WITH (FORMAT binary)

-- case: of an insert to the client
COPY (INSERT INTO hr.audit VALUES (9) RETURNING n) TO STDOUT

-- case: of a function that changes
COPY (SELECT app.wipe()) TO STDOUT

-- case: into a table, with a WHERE that changes something else
-- data: x\t1
COPY app.counters FROM STDIN WHERE app.wipe(value) > 0
