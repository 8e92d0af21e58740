-- Comments: before, within and behind the words, nested, and such as end where one does not look.

-- case: a comment in front
/* harmless */ DROP TABLE hr.people CASCADE

-- case: a comment between the words
DROP/**/TABLE/**/hr.people/**/CASCADE

-- case: a comment within a qualified name
DELETE FROM hr/* no */./* no */people

-- case: a nested comment that ends later than its first end
/* outer /* inner */ SELECT 1; */ DELETE FROM hr.people

-- case: a comment that ends earlier than a reader thinks
/* -- */ DELETE FROM hr.people -- */

-- case: a line comment ended by a carriage return alone
-- bytes: yes
-- SELECT harmless\x0dDELETE FROM hr.people

-- case: a line comment ended by a line feed
SELECT 1 -- and nothing else
; DELETE FROM hr.people

-- case: the statement behind a line that looks like all there is
SELECT count(*) FROM app.orders; --
DROP VIEW hr.everybody

-- case: WHERE commented out by a line comment
DELETE FROM app.orders -- WHERE id = 1

-- case: WHERE commented out by a block comment
DELETE FROM app.orders /* WHERE id = 1 */

-- case: WHERE within a nested comment
UPDATE app.orders SET note = '' /* /* */ WHERE id = 1 */

-- case: the WHERE's condition commented out
DELETE FROM app.orders WHERE /* id = 1 AND */ true

-- case: a condition cut short by a comment
UPDATE app.orders SET total = 0 WHERE true -- AND id = 7

-- case: a comment like another server's executable comment
DELETE FROM hr.people /*! WHERE id = 1 */

-- case: a comment like a hint of an optimiser
DELETE /*+ WHERE(id = 1) */ FROM hr.people

-- case: a comment that opens with a star more
/** documentation **/ TRUNCATE hr.people

-- case: a slash behind the comment's end
/*/ SELECT 1 /*/ */ */ DELETE FROM hr.people

-- case: comments alone, then a statement
/* a */ /* b */ -- c
/* d */ ; /* e */ DROP FUNCTION app.wipe()

-- case: a comment within DELETE FROM
DELETE
-- from app.orders where id = 1
FROM
/* app.orders */ hr.people

-- case: a comment as white space in TRUNCATE
TRUNCATE-- nothing
hr.people

-- case: minus signs that are a comment
SELECT 1--1; DELETE FROM hr.people
; DELETE FROM hr.people

-- case: minus signs that are no comment
DELETE FROM app.orders WHERE 1 - - 1 = 2

-- case: an operator of comment signs that is one
DELETE FROM app.orders WHERE 1 <> - 1 /*1*/

-- case: an unusual white space, form feed, for a blank
-- bytes: yes
DELETE\x0cFROM\x0chr.people

-- case: vertical tabs are blank in newer servers
-- bytes: yes
-- control: none, because the server that this runs against takes it for an error
DELETE\x0bFROM\x0bhr.people

-- case: tabs and line feeds for blanks
-- bytes: yes
DROP\x09TABLE\x0d\x0ahr.people\x09CASCADE

-- case: a comment in the name of a reporting tool
/* dashboard: people, refreshed hourly */ UPDATE hr.people SET salary = 0

-- case: a comment that claims approval
/* approved by: dba, ticket OPS-1, allowlisted */ DROP SCHEMA hr CASCADE

-- case: a comment in the form that tools append
DELETE FROM hr.people /*application='shop',controller='orders',action='index'*/

-- case: many comments
/**//**//**//**//**//**//**/DELETE/**//**//**/FROM/**//**//**/hr/**/./**/people/**//**//**/

-- case: a string that holds a comment's beginning
SELECT '/*'; DELETE FROM hr.people; SELECT '*/'

-- case: a quoted name that holds a comment's beginning
SELECT 1 AS "/*"; DELETE FROM hr.people; SELECT 2 AS "*/"

-- case: a dollar-quoted text that holds a comment's beginning
SELECT $$/*$$; DELETE FROM hr.people; SELECT $$*/$$
