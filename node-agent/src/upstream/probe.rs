//! The agent's own questions to a PostgreSQL catalogue, and the reading of their answers.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::model::UpstreamAddr;
use crate::wire::{Answer, Asked, FrontLimits, Phase, Talk, Text, Wants, Wire};

use super::Leg;
use super::catalogue::CatalogueError;
use super::dial::{Dialled, UpstreamError};

/// oid, schema, name, kind of everything that has columns.
pub(super) const RELATIONS: &str = "select c.oid, n.nspname, c.relname, c.relkind \
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where c.relkind in ('r','p','v','m','f','t')";
/// oid, attribute number, name.
pub(super) const COLUMNS: &str = "select a.attrelid, a.attnum, a.attname \
     from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
     where a.attnum > 0 and not a.attisdropped and c.relkind in ('r','p','v','m','f','t')";
/// What a relation's rows can come from: views through their rules; children and their parents;
/// and code.
///
/// Code is whatever a view calls that did not come with the server (a function by itself or behind
/// an operator; object ids below 16384 are the server's own), and those of the server's own functions
/// that run a text or read a file: neither shows what it reads. And of those, the ones that leave something
/// in the session. Dependencies on the server's own
/// objects are not listed, so that those are looked for in the view's tree.
pub(super) const SOURCES: &str = "select r.ev_class, d.refobjid, 'reads'::pg_catalog.text \
     from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d \
       on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     where d.refobjid <> r.ev_class group by 1, 2 \
     union select inhrelid, inhparent, 'inherits' from pg_catalog.pg_inherits \
     union select reltoastrelid, oid, 'reads' from pg_catalog.pg_class where reltoastrelid <> 0 \
     union select r.ev_class, 0, 'calls' \
     from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d \
       on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
      and d.refclassid in ('pg_catalog.pg_proc'::pg_catalog.regclass, \
                           'pg_catalog.pg_operator'::pg_catalog.regclass) \
     where r.ev_type = '1' and d.refobjid >= 16384 \
     union select r.ev_class, 0, 'calls' \
     from pg_catalog.pg_rewrite r join pg_catalog.pg_proc p \
       on pg_catalog.strpos(r.ev_action::pg_catalog.text, \
                            pg_catalog.format(':funcid %s ', p.oid)) > 0 \
     where r.ev_type = '1' and r.ev_class >= 16384 and p.oid < 16384 and p.proname in ( \
       'query_to_xml', 'query_to_xml_and_xmlschema', 'table_to_xml', \
       'table_to_xml_and_xmlschema', 'schema_to_xml', 'schema_to_xml_and_xmlschema', \
       'database_to_xml', 'database_to_xml_and_xmlschema', 'cursor_to_xml', 'ts_stat', \
       'ts_rewrite', 'pg_read_file', 'pg_read_binary_file', 'lo_get', 'loread', 'set_config', \
       'setseed', 'pg_notify')";

/// oid, attribute number (0: the relation itself), comment in hexadecimal (whatever its encoding is) of those
/// that can hold a tag. Beyond its first 64 Ki characters nothing of a comment counts.
pub(super) const COMMENTS: &str = "select d.objoid, d.objsubid, \
       pg_catalog.encode(pg_catalog.textsend(pg_catalog.left(d.description, 65536)), 'hex') \
     from pg_catalog.pg_description d \
     where d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objoid >= 16384 \
       and pg_catalog.strpos(d.description, ':') > 0";
/// How many rows a part of a catalogue has, and the sum of 64 bits for each: of where it lies, and of which
/// transaction wrote it.
macro_rules! written {
    ($from:literal) => {
        concat!(
            ", (select pg_catalog.concat_ws('/', pg_catalog.count(*), \
                    pg_catalog.sum(pg_catalog.hashtextextended(t.ctid::pg_catalog.text, \
                        t.xmin::pg_catalog.text::pg_catalog.int8))) \
                from pg_catalog.",
            $from,
            ")"
        )
    };
}

/// One cell that is another whenever something is defined, changed or dropped that the other questions ask
/// for, or that decides what a statement sets off (triggers, row security, defaults): for each catalogue how many
/// rows it has, and a sum over where they lie and who wrote them. A row that is written lies elsewhere and gets
/// the number of its transaction. A sum of these numbers alone would not do: who holds an older transaction open
/// can take from one row what another change adds. What came with the server is left out, and tables of single
/// sessions, which come and go.
pub(super) const PULSE: &str = concat!(
    "select pg_catalog.concat_ws(' '",
    written!(
        "pg_class t where oid >= 16384 and relkind in ('r','p','v','m','f') and relpersistence <> 't'"
    ),
    written!(
        "pg_attribute t join pg_catalog.pg_class c on c.oid = t.attrelid \
         where c.oid >= 16384 and t.attnum > 0 and c.relkind in ('r','p','v','m','f') \
           and c.relpersistence <> 't'"
    ),
    written!("pg_rewrite t where ev_class >= 16384"),
    written!("pg_inherits t"),
    written!(
        "pg_description t where classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           and objoid >= 16384"
    ),
    written!("pg_namespace t where nspname !~ '^pg_(toast_)?temp_'"),
    written!("pg_proc t where oid >= 16384"),
    written!("pg_operator t where oid >= 16384"),
    written!("pg_constraint t where contype = 'f' or contypid <> 0"),
    written!("pg_cast t where oid >= 16384"),
    written!(
        "pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid \
         where c.relpersistence <> 't'"
    ),
    written!("pg_policy t"),
    written!(
        "pg_attrdef t join pg_catalog.pg_class c on c.oid = t.adrelid \
         where c.relpersistence <> 't'"
    ),
    ")"
);
/// Schemas: what a search_path of the role can lead to.
pub(super) const SCHEMAS: &str = "select nspname from pg_catalog.pg_namespace \
     where pg_catalog.has_schema_privilege(oid, 'usage')";
/// schema, name, fewest and most arguments (-1: any number), trusted, what the server itself has, and whether
/// the first argument may be a row: functions that did not come with it.
///
/// What an extension of the owner's brings and says to write nothing is trusted as the server's own.
/// An `equal` in `pg_catalog` is found first, unless a search_path puts `pg_catalog` behind.
pub(super) const FUNCTIONS: &str = "select n.nspname, p.proname, \
       case when a.aggkind <> 'n' or p.prokind = 'p' then 0 \
            else p.pronargs - p.pronargdefaults end, \
       case when p.provariadic <> 0 or a.aggkind <> 'n' or p.prokind = 'p' then -1 \
            else p.pronargs end, \
       p.provolatile <> 'v' and exists (select from pg_catalog.pg_depend d \
           where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
             and d.objid = p.oid and d.deptype = 'e'), \
       case when exists (select from pg_catalog.pg_proc b where b.proname = p.proname \
                and b.pronamespace = 'pg_catalog'::pg_catalog.regnamespace \
                and b.proargtypes = p.proargtypes) then 'equal' \
            when exists (select from pg_catalog.pg_proc b where b.proname = p.proname \
                and b.pronamespace = 'pg_catalog'::pg_catalog.regnamespace) then 'name' \
            else 'nothing' end, \
       exists (select from pg_catalog.pg_type t \
           where t.oid = p.proargtypes[0] and t.typtype in ('c', 'd', 'p')) \
     from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
       left join pg_catalog.pg_aggregate a on a.aggfnoid = p.oid \
     where n.nspname not in ('pg_catalog', 'information_schema')";
/// Names of the server's own functions that take one argument.
pub(super) const OF_ONE: &str = "select distinct proname from pg_catalog.pg_proc \
     where pronamespace in ('pg_catalog'::pg_catalog.regnamespace, \
                            'information_schema'::pg_catalog.regnamespace) \
       and pronargs - pronargdefaults <= 1 and (pronargs >= 1 or provariadic <> 0)";
/// schema, name, the function behind it (schema, name), whether `pg_catalog` has an equal: operators that
/// came neither with the server nor with an extension.
pub(super) const OPERATORS: &str = "select n.nspname, o.oprname, fn.nspname, f.proname, \
       exists (select from pg_catalog.pg_operator b where b.oprname = o.oprname \
           and b.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace \
           and b.oprleft = o.oprleft and b.oprright = o.oprright) \
     from pg_catalog.pg_operator o join pg_catalog.pg_namespace n on n.oid = o.oprnamespace \
       join pg_catalog.pg_proc f on f.oid = o.oprcode \
       join pg_catalog.pg_namespace fn on fn.oid = f.pronamespace \
     where n.nspname not in ('pg_catalog', 'information_schema') \
       and not exists (select from pg_catalog.pg_depend d where d.objid = o.oid \
           and d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass and d.deptype = 'e')";
/// schema, name, and a function (schema, name) that making a value of that type runs: by the check of a
/// domain, by a cast to it, by its input, or by those of a part of it. Neither functions that came with the
/// server nor an extension's.
pub(super) const TYPES: &str = "with recursive direct (type, function, part) as ( \
       select k.contypid, d.refobjid, true \
       from pg_catalog.pg_constraint k join pg_catalog.pg_depend d on d.objid = k.oid \
        and d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
        and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass where k.contypid <> 0 \
       union select k.contypid, o.oprcode::pg_catalog.oid, true \
       from pg_catalog.pg_constraint k join pg_catalog.pg_depend d on d.objid = k.oid \
        and d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
        and d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass \
       join pg_catalog.pg_operator o on o.oid = d.refobjid where k.contypid <> 0 \
       union select oid, typinput::pg_catalog.oid, true from pg_catalog.pg_type \
       union select casttarget, castfunc, false from pg_catalog.pg_cast where castfunc <> 0), \
     own (oid, schema, name) as ( \
       select p.oid, n.nspname, p.proname \
       from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
       where p.oid >= 16384 and not exists (select from pg_catalog.pg_depend d \
           where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
             and d.objid = p.oid and d.deptype = 'e')), \
     parts (type, part) as ( \
       select oid, typbasetype from pg_catalog.pg_type where typbasetype <> 0 \
       union all select oid, typelem from pg_catalog.pg_type where typelem <> 0 \
       union all select rngtypid, rngsubtype from pg_catalog.pg_range \
       union all select t.oid, a.atttypid from pg_catalog.pg_type t \
       join pg_catalog.pg_attribute a on a.attrelid = t.typrelid \
       where t.typrelid >= 16384 and a.attnum > 0 and not a.attisdropped), \
     runs (type, function, part) as ( \
       select d.type, d.function, d.part from direct d join own f on f.oid = d.function \
       union select p.type, r.function, true from runs r join parts p on p.part = r.type where r.part) \
     select distinct n.nspname, t.typname, f.schema, f.name \
     from runs r join own f on f.oid = r.function \
       join pg_catalog.pg_type t on t.oid = r.type \
       join pg_catalog.pg_namespace n on n.oid = t.typnamespace";
/// Those of the server's own relations whose options may hold passwords and that are empty.
pub(super) const BARE: &str = "select 'pg_foreign_table' \
       where not exists (select from pg_catalog.pg_foreign_table) \
     union all select 'pg_foreign_server' \
       where not exists (select from pg_catalog.pg_foreign_server) \
     union all select 'pg_foreign_data_wrapper' \
       where not exists (select from pg_catalog.pg_foreign_data_wrapper) \
     union all select 'pg_user_mappings' \
       where not exists (select from pg_catalog.pg_user_mappings) \
     union all select 'pg_subscription' \
       where not exists (select from pg_catalog.pg_subscription)";
/// Which change of a relation changes another: referential actions, and rules. From, how it is
/// changed there, to, how that is changed (`*`: a rule's actions, in any way).
pub(super) const CHANGES: &str = "select confrelid, 'delete', conrelid, \
       case confdeltype when 'c' then 'delete' else 'update' end \
     from pg_catalog.pg_constraint where contype = 'f' and confdeltype in ('c', 'n', 'd') \
     union select confrelid, 'update', conrelid, 'update' \
     from pg_catalog.pg_constraint where contype = 'f' and confupdtype in ('c', 'n', 'd') \
     union select r.ev_class, \
       case r.ev_type when '2' then 'update' when '3' then 'insert' else 'delete' end, \
       d.refobjid, '*' \
     from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d \
       on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
      and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     where r.ev_type in ('2', '3', '4') and d.refobjid <> r.ev_class";
/// The path that this session's unqualified names are looked for in.
pub(super) const PATH: &str = "show search_path";

/// What the settings of a new session come from beside files and its own login: those of the role, the database
/// and both. With the numbers of the transactions that wrote them, so that there and back again is a change. And
/// what became of them where a reset may not lead back: as whom statements run (servers before CVE-2024-10978 was
/// mended forget a role that is set for the role), and whether the server is a standby.
///
/// Asked where a client's own settings hold: operators are named with their schema.
macro_rules! settings {
    () => {
        "pg_catalog.current_setting('search_path'), \
         (select pg_catalog.concat_ws(' ', current_user, pg_catalog.pg_is_in_recovery(), \
              pg_catalog.count(*), pg_catalog.string_agg( \
              pg_catalog.concat_ws('/', s.setdatabase, s.setrole, s.xmin, s.setconfig), ' ' \
              order by s.setdatabase, s.setrole)) \
          from pg_catalog.pg_db_role_setting s \
          where s.setrole operator(pg_catalog.=) 0 or s.setrole operator(pg_catalog.=) \
              pg_catalog.to_regrole(pg_catalog.quote_ident(session_user))::pg_catalog.oid)"
    };
}
/// The path, and what its settings were made of, of a session that has just begun.
pub(super) const BEGINS: &str = concat!("select ", settings!());
/// The same of one that goes on, who it is and in which database, and whether it would be let in now as it
/// is: the role may log in and is as much of a superuser as it was, the database takes sessions of it, neither
/// is held to no connections at all, and there is no trigger that is to see each login.
pub(super) const STANDS: &str = concat!(
    "select ",
    settings!(),
    ", session_user, pg_catalog.current_database(), \
     (select r.rolcanlogin \
         and (r.rolvaliduntil is null \
              or r.rolvaliduntil operator(pg_catalog.>) pg_catalog.now()) \
         and r.rolsuper operator(pg_catalog.=) \
             (pg_catalog.current_setting('is_superuser') operator(pg_catalog.=) 'on') \
         and d.datallowconn \
         and r.rolconnlimit operator(pg_catalog.<>) 0 and d.datconnlimit operator(pg_catalog.<>) 0 \
         and pg_catalog.has_database_privilege(session_user, d.oid, 'connect') \
         and not exists (select from pg_catalog.pg_event_trigger e \
             where e.evtevent operator(pg_catalog.=) 'login' \
               and e.evtenabled operator(pg_catalog.<>) 'D') \
      from pg_catalog.pg_roles r, pg_catalog.pg_database d \
      where r.rolname operator(pg_catalog.=) session_user \
        and d.datname operator(pg_catalog.=) pg_catalog.current_database())"
);

/// The largest single row that a catalogue answer may hold.
const ROW_BYTES: usize = 1 << 20;
/// The most rows of one reading: columns of some ten thousands of tables.
const ROWS: usize = 2_000_000;
/// The most bytes of one reading, on the wire.
const BYTES: usize = 128 << 20;

/// A connection for the agent's own questions.
pub(super) struct Probe<W: Wire> {
    leg: Leg,
    talk: W::Talk<(), ()>,
    input: BytesMut,
    address: UpstreamAddr,
    rows_left: usize,
    bytes_left: usize,
    /// Whether the server may say what it was not asked.
    talkative: bool,
}

impl<W: Wire> Probe<W> {
    pub(super) fn new(dialled: Dialled, address: UpstreamAddr) -> Self {
        let limits = FrontLimits {
            message: ROW_BYTES,
            ..FrontLimits::default()
        };
        Probe {
            leg: dialled.leg,
            talk: W::Talk::new(limits),
            input: dialled.rest,
            address,
            rows_left: ROWS,
            bytes_left: BYTES,
            talkative: true,
        }
    }

    /// From here on anything but answers is an error.
    pub(super) fn answers_only(mut self) -> Self {
        self.talkative = false;
        self
    }

    /// Asks, and gives each row's text cells to `row`. A question that the database refuses leaves the
    /// connection as it was.
    ///
    /// # Errors
    /// The connection or the database failed, or the answers on this connection are together more
    /// than the agent holds.
    pub(super) async fn each(
        &mut self,
        text: &str,
        mut row: impl FnMut(&[Option<&str>]),
    ) -> Result<(), CatalogueError> {
        let address = self.address;
        let broken = |source| UpstreamError::Broken { address, source };
        let mut out = BytesMut::new();
        self.talk
            .send(question(text), (), Wants::default(), &mut out);
        self.leg.write_all(&out).await.map_err(broken)?;
        self.leg.flush().await.map_err(broken)?;
        let mut refused = None;
        loop {
            while let Some((span, answer)) =
                self.talk.listen(&self.input).map_err(UpstreamError::from)?
            {
                let frames = self.input.split_to(span.min(self.input.len()));
                self.bytes_left = self
                    .bytes_left
                    .checked_sub(frames.len())
                    .ok_or(CatalogueError::TooLarge("bytes"))?;
                match answer {
                    Answer::Head => self.talk.hold_rows(true),
                    Answer::Rows { .. } => {
                        let seen = rows(&frames, &mut row);
                        self.rows_left = self
                            .rows_left
                            .checked_sub(seen)
                            .ok_or(CatalogueError::TooLarge("rows"))?;
                    }
                    Answer::Failed(error) => {
                        let (code, message) = (error.code, error.message);
                        refused = Some(UpstreamError::Refused { code, message });
                        let _answered = self.talk.finished();
                    }
                    Answer::Ready { .. } => {
                        let _answered = self.talk.finished();
                        return match refused {
                            Some(error) => Err(error.into()),
                            None => Ok(()),
                        };
                    }
                    Answer::Notice(_) | Answer::Notification | Answer::Parameter { .. }
                        if !self.talkative =>
                    {
                        let error = std::io::Error::other("a word that nobody asked for");
                        return Err(broken(error).into());
                    }
                    Answer::Done { .. }
                    | Answer::Control
                    | Answer::Hidden
                    | Answer::Notice(_)
                    | Answer::Notification
                    | Answer::Parameter { .. }
                    | Answer::Suspended => {}
                    Answer::Piece { .. }
                    | Answer::Refused(_)
                    | Answer::CopyIn
                    | Answer::CopyOut
                    | Answer::Estimated { .. }
                    | Answer::Counted { .. }
                    | Answer::Kept
                    | Answer::Own(_)
                    | Answer::CopyRows { .. } => {
                        let error = std::io::Error::other("an answer nobody asked for");
                        return Err(broken(error).into());
                    }
                }
            }
            let read = self.leg.read_buf(&mut self.input).await;
            let gone = matches!(read, Ok(0) | Err(_));
            // What the database said last explains why it went.
            if gone && let Some(error) = refused {
                return Err(error.into());
            }
            if read.map_err(broken)? == 0 {
                return Err(broken(std::io::ErrorKind::UnexpectedEof.into()).into());
            }
        }
    }

    /// The next questions may be answered as largely as the first.
    pub(super) fn renew(&mut self) {
        (self.rows_left, self.bytes_left) = (ROWS, BYTES);
    }

    /// The connection, idle again, for whoever goes on with it.
    pub(super) fn into_parts(self) -> (Leg, BytesMut) {
        (self.leg, self.input)
    }

    pub(super) async fn close(mut self) {
        // A failure to say goodbye changes nothing: the answers are complete.
        let _ = self.leg.write_all(b"X\0\0\0\x04").await;
        let _ = self.leg.shutdown().await;
    }
}

fn question(text: &str) -> Asked<()> {
    let mut frame = BytesMut::with_capacity(text.len() + 6);
    frame.put_u8(b'Q');
    frame.put_u32(u32::try_from(text.len() + 5).unwrap_or(u32::MAX));
    frame.put_slice(text.as_bytes());
    frame.put_u8(0);
    Asked {
        phase: Phase::Run {
            text: Text::from(text.to_owned()),
        },
        frame: frame.freeze(),
    }
}

/// Walks whole DataRow frames, and gives their number. What does not decode is left out: an attribute that is not in the
/// catalogue is unknown, and the unknown is masked.
fn rows(mut frames: &[u8], row: &mut impl FnMut(&[Option<&str>])) -> usize {
    let mut seen = 0;
    while let Some((&[b'D', a, b, c, d], rest)) = frames.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        let Some((body, next)) = length.checked_sub(4).and_then(|n| rest.split_at_checked(n))
        else {
            return seen;
        };
        frames = next;
        seen += 1;
        let Some((count, mut body)) = body.split_first_chunk::<2>() else {
            continue;
        };
        let mut cells: Vec<Option<&str>> = Vec::with_capacity(8);
        for _ in 0..u16::from_be_bytes(*count) {
            let Some((size, rest)) = body.split_first_chunk::<4>() else {
                break;
            };
            let size = i32::from_be_bytes(*size);
            let Ok(size) = usize::try_from(size) else {
                cells.push(None);
                body = rest;
                continue;
            };
            let Some((cell, rest)) = rest.split_at_checked(size) else {
                break;
            };
            cells.push(std::str::from_utf8(cell).ok());
            body = rest;
        }
        row(&cells);
    }
    seen
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wire::Greeted;
    use crate::wire::pg::Pg;

    const HEAD: &[u8] = b"T\0\0\0\x1a\0\x01o\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    const ROW: &[u8] = b"D\0\0\0\x0c\0\x01\0\0\0\x021234".split_at(13).0;

    /// What comes of a question to a server whose answer has so many rows, and of how many it was
    /// told, where so many rows and bytes are left.
    async fn asked(
        rows: usize,
        rows_left: usize,
        bytes_left: usize,
    ) -> (usize, Result<(), CatalogueError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 5 + RELATIONS.len() + 1];
            stream.read_exact(&mut question).await.unwrap();
            let mut answer = HEAD.to_vec();
            answer.extend(ROW.repeat(rows));
            answer.extend(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
            // The other side may have had enough.
            let _ = stream.write_all(&answer).await;
        });
        let dialled = Dialled {
            leg: Leg::Plain(TcpStream::connect(address).await.unwrap().into()),
            greeted: Greeted::default(),
            rest: BytesMut::new(),
        };
        let mut probe = Probe::<Pg>::new(dialled, UpstreamAddr(address));
        probe.rows_left = rows_left;
        probe.bytes_left = bytes_left;
        let mut seen = 0;
        let done = probe.each(RELATIONS, |_| seen += 1).await;
        drop(probe);
        server.await.unwrap();
        (seen, done)
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_an_error_and_not_a_part_of_the_catalogue() {
        let (seen, done) = asked(1000, 1000, 1 << 20).await;
        assert_eq!(seen, 1000);
        done.unwrap();
        for (rows_left, bytes_left, what) in [(999, 1 << 20, "rows"), (1000, 4096, "bytes")] {
            let (_, done) = asked(1000, rows_left, bytes_left).await;
            assert!(
                matches!(done, Err(CatalogueError::TooLarge(w)) if w == what),
                "{done:?}"
            );
        }
    }
}
