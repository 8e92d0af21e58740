-- Letters and bytes: other encodings, marks, letters that look alike.

-- case: another encoding, in which a byte swallows the quote
-- bytes: yes
SET client_encoding TO 'SJIS'
-- then
SELECT E'\x95\x5c'; DELETE FROM hr.people; --'

-- case: another encoding by SET NAMES
-- bytes: yes
SET NAMES 'BIG5'
-- then
SELECT '\xa1\x5c'; DELETE FROM hr.people; --'

-- case: another encoding by set_config
-- bytes: yes
SELECT set_config('client_encoding', 'GBK', false)
-- then
SELECT E'\xbf\x5c'; DELETE FROM hr.people; --'

-- case: another encoding by UPDATE of the settings
-- bytes: yes
UPDATE pg_settings SET setting = 'LATIN1' WHERE name = 'client_encoding'
-- then
SELECT '\xe9'; DELETE FROM hr.people

-- case: bytes that are no UTF-8, and a statement behind
-- bytes: yes
-- control: none, because the server refuses bytes that are no letters
SELECT '\xff'; DELETE FROM hr.people

-- case: half a letter before the quote
-- bytes: yes
-- control: none, because the server refuses half a letter
SELECT '\xc3'; DELETE FROM hr.people; --'

-- case: a letter in too many bytes
-- bytes: yes
-- control: none, because the server refuses letters that are longer than they need be
SELECT '\xc0\xa7; DELETE FROM hr.people; --'

-- case: strings in which a backslash escapes
SET standard_conforming_strings = off
-- then
SELECT 'a\'; b'; DELETE FROM hr.people

-- case: strings in which a backslash escapes, by set_config
SELECT set_config('standard_conforming_strings', 'off', false)
-- then
SELECT 'a\'; b'; DELETE FROM hr.people

-- case: strings in which a backslash escapes, for this transaction
SET LOCAL standard_conforming_strings = off
-- then
SELECT 'a\'; b'; DELETE FROM hr.people

-- case: backslash and quote allowed
SET backslash_quote = on
-- then
SELECT E'a\''; DELETE FROM hr.people; --'

-- case: a letter that looks like another is another name
-- bytes: yes
CREATE TABLE app.ord\xd0\xb5rs (id int)

-- case: a blank that is none is part of a name
-- bytes: yes
CREATE TABLE app.a\xc2\xa0b (id int)

-- case: a name in wide letters
-- bytes: yes
CREATE TABLE app.\xef\xbd\x81 (id int)

-- case: a mark of byte order in a comment before the statement
-- bytes: yes
/*\xef\xbb\xbf*/ DELETE FROM hr.people

-- case: marks that change the direction of what is shown
-- bytes: yes
/* \xe2\x80\xae } WHERE id = 1 \xe2\x81\xa6 */ DELETE FROM hr.people

-- case: a letter of no width in a comment between the words
-- bytes: yes
DELETE /*\xe2\x80\x8b*/ FROM hr.people

-- case: a name with a letter beyond ASCII in capital letters, which does not fold
-- bytes: yes
CREATE TABLE app.\xc3\x84 (id int)

-- case: a letter of several bytes before the quote's end
-- bytes: yes
SELECT '\xe2\x82\xac'; DELETE FROM hr.people

-- case: a tag of letters of several bytes
-- bytes: yes
SELECT $\xe2\x82\xac$ '; $\xe2\x82\xac$; DELETE FROM hr.people
