//! `replay --against`: runs a recorded session again, at a scratch copy. What else `replay` does connects
//! to nothing.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use node_agent::model::{Secret, UpstreamAddr};
use node_agent::record::Identities;
use node_agent::replay::{
    Again, AgainstOptions, Line, Origin, Run, Style, origin, run_again, visible,
};
use node_agent::tls::UpstreamConnector;
use node_agent::upstream::Endpoint;

use super::catalogue::{Place, parse};
use super::{Answer, out};

/// The largest password file, bytes.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Against {
    /// Run the session again at this database, a scratch copy:
    /// postgres://USER@HOST:PORT/DATABASE?sslmode=disable|require|verify-full
    ///
    /// What ran is run again, statement by statement, and what comes out other is told. It writes
    /// what the session wrote. The password is better in --password-file, PGPASSWORD or a password
    /// file (PGPASSFILE, ~/.pgpass) than in the URL. Exit status: 0 no difference, 1 differences, 2
    /// it could not be run.
    #[arg(long, value_name = "URL", help_heading = "Run it again")]
    against: Option<String>,
    /// The password is in this file
    #[arg(
        long,
        value_name = "FILE",
        requires = "against",
        help_heading = "Run it again"
    )]
    password_file: Option<PathBuf>,
    /// Run also what was refused
    #[arg(long, requires = "against", help_heading = "Run it again")]
    denied: bool,
    /// Connect to nothing, and tell what would run
    #[arg(long, requires = "against", help_heading = "Run it again")]
    dry_run: bool,
    /// Stop at the first difference
    #[arg(long, requires = "against", help_heading = "Run it again")]
    stop_on_difference: bool,
    /// Run it at the very server where it ran
    #[arg(long, requires = "against", help_heading = "Run it again")]
    force_same_target: bool,
    /// Name statements that come out the same, too
    #[arg(long, requires = "against", help_heading = "Run it again")]
    all: bool,
    /// Do not ask
    #[arg(long, short, requires = "against", help_heading = "Run it again")]
    yes: bool,
    /// One JSON object a line
    #[arg(long, requires = "against", help_heading = "Run it again")]
    json: bool,
}

impl Against {
    /// Whether it is asked for.
    pub(super) fn wanted(&self) -> bool {
        self.against.is_some()
    }

    /// Runs the session of this recording again.
    pub(super) fn run(
        &self,
        recording: &Path,
        identities: &Identities,
        speed: Option<f64>,
    ) -> anyhow::Result<Answer> {
        let url = self
            .against
            .as_deref()
            .context("--against names no database")?;
        let place = parse(url)?;
        let origin = origin(recording, identities)?;
        let options = AgainstOptions {
            speed,
            denied: self.denied,
            stop: self.stop_on_difference,
            style: if self.json { Style::Json } else { Style::Text },
            all: self.all,
            progress: !self.dry_run && std::io::stderr().is_terminal(),
        };
        if !self.dry_run {
            self.confirm(&origin, &place)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let again: Again = runtime.block_on(async {
            let run = match self.dry_run {
                true => Run::Dry,
                false => Run::At(Box::new(self.open(&origin, place).await?)),
            };
            anyhow::Ok(run_again(recording, identities, run, &options, &mut out::stdout()).await?)
        })?;
        Ok(match again.different {
            0 => Answer::Good,
            _ => Answer::No,
        })
    }

    /// What runs once cannot be taken back: somebody must have meant it.
    fn confirm(&self, origin: &Origin, place: &Place) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!(
                "this runs statements at {}; say --yes where nobody can be asked",
                place.host
            );
        }
        let mut to = std::io::stderr();
        write!(
            to,
            "Run {} (recorded at {}, database {}) again at {}:{}, database {}, as {}? It writes \
             what the session wrote. [y/N] ",
            origin.session,
            visible(&origin.target.0),
            visible(&origin.database),
            visible(&place.host),
            place.port,
            visible(&place.login.database),
            visible(&place.login.user),
        )?;
        to.flush()?;
        let mut said = String::new();
        std::io::stdin().lock().read_line(&mut said)?;
        match said.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => bail!("nothing was run"),
        }
    }

    /// Opens the scratch database, if it is not the one of the recording.
    async fn open(&self, origin: &Origin, place: Place) -> anyhow::Result<Line> {
        let found = tokio::net::lookup_host((place.host.as_str(), place.port)).await;
        let addresses: Vec<SocketAddr> = found
            .with_context(|| format!("{} has no address here", place.host))?
            .collect();
        if let Some(own) = origin.among(&addresses)
            && !self.force_same_target
        {
            bail!(same(own));
        }
        let tls = UpstreamConnector::new(place.mode, place.ca_file.as_deref())?.map(Arc::new);
        let mut login = place.login.clone();
        if login.password.is_none() {
            login.password = self.password(&place)?;
        }
        login.tls = tls.is_some();
        login.proven = tls.as_ref().is_some_and(|tls| tls.verified());
        login.settings.clone_from(&origin.settings);
        let name = format!("node-agent replay {}", origin.session);
        login.settings.push(("application_name".to_owned(), name));
        let mut last = anyhow::anyhow!("there is no address to dial");
        for address in addresses {
            let endpoint = Endpoint {
                address: UpstreamAddr(address),
                tls: tls.clone(),
                server_name: place.host.clone(),
            };
            let mut line = match Line::open(&endpoint, login.clone()).await {
                Ok(line) => line,
                Err(error) => {
                    last = error.into();
                    continue;
                }
            };
            // A name, a tunnel or a balancer can hide where it leads: the server's own word.
            let said: Vec<SocketAddr> = line.place().await?.into_iter().collect();
            if let Some(own) = origin.among(&said)
                && !self.force_same_target
            {
                line.close().await;
                bail!(same(own));
            }
            return Ok(line);
        }
        Err(last)
    }

    fn password(&self, place: &Place) -> anyhow::Result<Option<Secret<String>>> {
        if let Some(file) = &self.password_file {
            let text = read(file)?;
            let plain = text.trim_end_matches(['\r', '\n']).to_owned();
            return Ok(Some(Secret::new(plain)));
        }
        if let Ok(password) = std::env::var("PGPASSWORD") {
            return Ok(Some(Secret::new(password)));
        }
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".pgpass"));
        let file = std::env::var_os("PGPASSFILE")
            .map(PathBuf::from)
            .or_else(home);
        let Some(file) = file.filter(|file| file.is_file()) else {
            return Ok(None);
        };
        let text = read(&file)?;
        Ok(text.lines().find_map(|line| of_line(line, place)))
    }
}

fn same(own: SocketAddr) -> String {
    format!(
        "{own} is where the session ran: run it at a scratch copy on another server, or say \
         --force-same-target"
    )
}

fn read(file: &Path) -> anyhow::Result<String> {
    let shown = || file.display().to_string();
    let size = std::fs::metadata(file).with_context(shown)?.len();
    if size > LARGEST {
        bail!("{}: larger than {LARGEST} bytes", shown());
    }
    std::fs::read_to_string(file).with_context(shown)
}

/// A line of a password file (libpq, "The Password File"): host, port, database, user, password; `*` fits
/// all; a backslash makes the next character ordinary.
fn of_line(line: &str, place: &Place) -> Option<Secret<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut all = vec![false];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, fields.len()) {
            (':', 1..=4) => {
                fields.push(String::new());
                all.push(false);
            }
            ('\\', _) => fields.last_mut()?.extend(characters.next()),
            (c, _) => {
                let field = fields.last_mut()?;
                *all.last_mut()? = c == '*' && field.is_empty();
                field.push(c);
            }
        }
    }
    let password = (fields.len() == 5).then(|| fields.pop()).flatten()?;
    let port = place.port.to_string();
    let wanted = [
        place.host.as_str(),
        &port,
        &place.login.database,
        &place.login.user,
    ];
    let fits = fields.iter().zip(&all).zip(wanted);
    let mut fits = fits.map(|((field, all), wanted)| *all || field == wanted);
    (fits.all(|fits| fits) && !password.is_empty()).then(|| Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let place = parse("postgres://me@db:5433/app?sslmode=disable").unwrap();
        for (line, password) in [
            ("db:5433:app:me:secret", Some("secret")),
            ("*:*:*:*:a:b", Some("a:b")),
            ("db:5432:app:me:secret", None),
            ("other:*:*:*:secret", None),
            ("# db:5433:app:me:secret", None),
            (r"db:5433:app:me:s\:x\\", Some(r"s:x\")),
            (r"\*:5433:app:me:secret", None),
            ("db:5433:app:me:", None),
            ("db:5433:app:me", None),
        ] {
            let found = of_line(line, &place);
            assert_eq!(
                found.as_ref().map(|f| f.expose().as_str()),
                password,
                "{line}"
            );
        }
    }
}
