-- DO: code that runs at once and that nobody has read.

-- case: the plain form
DO 'begin delete from hr.people; end'

-- case: with a language in front
DO LANGUAGE plpgsql 'begin delete from hr.people; end'

-- case: with a language behind
DO $$begin delete from hr.people; end$$ LANGUAGE plpgsql

-- case: in an E string
DO E'begin delete from hr\x2epeople; end'

-- case: in a unicode string
DO U&'begin delete from hr\002Epeople; end'

-- case: in a string that goes on in the next line
DO 'begin delete '
'from hr.people; end'

-- case: with dynamic SQL
DO $$begin execute 'dele' || 'te from hr.people'; end$$

-- case: with a loop over tables
DO $$declare t record; begin for t in select tablename from pg_tables where schemaname = 'hr' loop execute format('truncate hr.%I cascade', t.tablename); end loop; end$$

-- case: with PERFORM
DO $$begin perform app.wipe(); end$$

-- case: with CALL
DO $$begin call app.purge(); end$$

-- case: with its own error caught
DO $$begin begin perform 1 / 0; exception when others then delete from hr.people; end; end$$

-- case: with a COMMIT
-- control: committed
DO $$begin delete from hr.people; commit; perform 1 / 0; end$$

-- case: behind comments
/* select */ DO /* nothing */ $$ /* really */ begin /* nothing */ delete from hr.people; end $$

-- case: whose text says that it only looks
DO $$begin /* read only */ perform count(*) from app.orders; delete from app.orders; end$$

-- case: that makes a function and calls it
DO $$begin create function pg_temp.f() returns void language sql as 'delete from hr.people'; perform pg_temp.f(); end$$
