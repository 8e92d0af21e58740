-- Strings and quoted names: where they end, and what stands behind.

-- case: a quoted schema and table
DELETE FROM "hr"."people"

-- case: quoted names with a comment between
DROP TABLE "hr" /* app */ . "people" CASCADE

-- case: a name in unicode escapes
DELETE FROM U&"\0068\0072".U&"people"

-- case: a name in unicode escapes with another escape character
DELETE FROM U&"!0068!0072" UESCAPE '!' . people

-- case: a name in long unicode escapes
DELETE FROM hr.U&"\+000070eople"

-- case: capital letters that fold
DeLeTe FrOm HR.PEOPLE

-- case: letters that fold within a quoted schema
TRUNCATE TABLE ONLY "hr".PeOpLe

-- case: a doubled quote within a string
SELECT 'it''s'; DELETE FROM hr.people; SELECT 'it''s'

-- case: a backslash at the end of a string, which is only a backslash
SELECT 'a\'; DELETE FROM hr.people; --'

-- case: a backslash that escapes in an E string
SELECT E'a\'; still the string'; DELETE FROM hr.people

-- case: a backslash that is escaped in an E string
SELECT E'a\\'; DELETE FROM hr.people; --'

-- case: a quote by its number in an E string
SELECT E'\047; no end'; DELETE FROM hr.people

-- case: a string that goes on in the next line
SELECT 'a'
'; b'; DELETE FROM hr.people

-- case: an E string that goes on in the next line
SELECT E'a'
'\'; b'; DELETE FROM hr.people

-- case: a unicode string with a quote in it
SELECT U&'\0027; no end'; DELETE FROM hr.people

-- case: a unicode string with another escape character
SELECT U&'!0027' UESCAPE '!'; DELETE FROM hr.people

-- case: a bit string before it
SELECT B'1', X'1F'; DELETE FROM hr.people

-- case: a national string before it
SELECT N'a'; DELETE FROM hr.people

-- case: a WHERE that is a string
DELETE FROM app.orders AS " WHERE id = 1"

-- case: an alias that looks like a condition
UPDATE app.orders AS "where" SET note = ''

-- case: a column's alias that closes nothing
SELECT 1 AS "x""; --"; DELETE FROM hr.people

-- case: a table's name with a dot inside, and a table in a schema
WITH "hr.people" AS (SELECT 1) DELETE FROM hr.people

-- case: a semicolon in a quoted name
SELECT 1 AS "a;b"; DELETE FROM hr.people

-- case: a string with a statement in it, and the statement
SELECT 'DELETE FROM app.orders WHERE id = 1'; DELETE FROM hr.people

-- case: a quoted name of a function
SELECT "app"."wipe"()

-- case: a function's name in unicode escapes
SELECT app.U&"w\0069pe"()

-- case: a quoted name that is a keyword
SELECT "app" . "wipe" ( ) FROM (SELECT 1) "select"

-- case: an escape string in EXECUTE's own text
SELECT app.wipe_text(E'\x64elete from hr.people')

-- case: a text put together from pieces
SELECT app.wipe_text('del' || 'ete fr' || 'om hr.people')

-- case: a text put together by format
SELECT app.wipe_text(format('%s from %I.%I', 'delete', 'hr', 'people'))

-- case: a text put together from numbers
SELECT app.wipe_text(chr(100) || 'elete from hr.people')

-- case: a text turned round
SELECT app.wipe_text(reverse('elpoep.rh morf eteled'))

-- case: a text decoded from bytes
SELECT app.wipe_text(convert_from(decode('64656c6574652066726f6d2068722e70656f706c65', 'hex'), 'UTF8'))

-- case: a parenthesised target is not one, a quoted one is
DELETE FROM ONLY ("hr"."people")

-- case: a name with the database in front
DELETE FROM {database}.hr.people
