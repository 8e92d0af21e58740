-- Dollar quotes: where they begin, where they end, and what is no dollar quote.

-- case: a dollar-quoted text before it
SELECT $$a$$; DELETE FROM hr.people

-- case: a tagged one with another tag's end in it
SELECT $a$ $b$ $a$; DELETE FROM hr.people; SELECT $b$ x $b$

-- case: a quote within a dollar quote
SELECT $$'$$; DELETE FROM hr.people; SELECT $$'$$

-- case: a dollar quote within quotes
SELECT '$$'; DELETE FROM hr.people; SELECT '$$'

-- case: a dollar quote within a quoted name
SELECT 1 AS "$$"; DELETE FROM hr.people; SELECT 2 AS "$$"

-- case: a dollar sign within a name begins nothing
SELECT 1 AS a$$; DELETE FROM hr.people; SELECT 1 AS b$$

-- case: a tag is told apart by its letters' size
SELECT $tag$ $TAG$ $tag$; DELETE FROM hr.people; SELECT $TAG$ x $TAG$

-- case: a tag beyond ASCII
SELECT $é$ ; $é$; DELETE FROM hr.people

-- case: two dollar quotes side by side
SELECT $$a$$
, $$b$$; DELETE FROM hr.people

-- case: a comment's beginning inside
SELECT $x$ -- $x$; DELETE FROM hr.people

-- case: a dollar-quoted block of code
DO $$ BEGIN DELETE FROM hr.people; END $$

-- case: a block with a tag and other quotes in it
DO $do$ BEGIN EXECUTE $x$DELETE FROM hr.people$x$; END $do$

-- case: a text for a function that runs it
SELECT app.wipe_text($q$delete from hr.people$q$)

-- case: a text in a text
SELECT app.wipe_text($a$ do $b$ begin execute $c$ delete from hr.people $c$; end $b$ $a$)

-- case: a parameter beside a dollar quote
-- with: 1
-- control: none, because the server takes no two statements where there are parameters
SELECT $1::text; DELETE FROM hr.people

-- case: a function's body
CREATE FUNCTION app.more() RETURNS int LANGUAGE sql AS $f$ DELETE FROM hr.people RETURNING 1 $f$

-- case: an empty tag, a tag, an empty tag
SELECT $$ $x$ $$; DELETE FROM hr.people -- $x$ $$
