//! PostgreSQL's own regression suite, which the tests run with and without the agent: its statements,
//! their data and their order, out of the distribution's source package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, twice};
use crate::{ground, run};

/// What is taken from the archive, below `src/test/regress`.
const TAKEN: [&str; 3] = ["sql", "data", "parallel_schedule"];

/// Fewer files than this are not the suite.
const LEAST_FILES: usize = 150;

/// Holds `sql`, `data` and `parallel_schedule`.
fn home() -> PathBuf {
    ground::test_parts().join("regress")
}

pub(super) fn is_present() -> bool {
    is_whole(&home())
}

fn is_whole(place: &Path) -> bool {
    let statements = apt::under(place.join("sql"))
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "sql"))
        .count();
    statements >= LEAST_FILES
        && place.join("parallel_schedule").is_file()
        && place.join("data/onek.data").is_file()
}

pub(super) fn get() -> Result<()> {
    let parts = ground::test_parts();
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let work = tempfile::tempdir_in(&parts)?;
    let apt = SourceApt::new(work.path())?;
    let package = source_package()?;
    twice(|| apt.update()).context("the lists of source packages could not be fetched")?;
    let archive = apt.fetch_newest(&package)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(work.path());
    tar.args(["--strip-components=4", "--wildcards"]);
    tar.args(TAKEN.map(|name| format!("*/src/test/regress/{name}")));
    let unpacked = work.path().join("regress");
    fs::create_dir(&unpacked)?;
    run::captured(&mut tar)?;
    for name in TAKEN {
        fs::rename(work.path().join(name), unpacked.join(name))
            .with_context(|| format!("{} has no {name}", archive.display()))?;
    }
    if !is_whole(&unpacked) {
        bail!("{} does not hold the regression suite", archive.display());
    }
    let home = home();
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::rename(&unpacked, &home).with_context(|| format!("cannot put {}", home.display()))
}

/// The source of the server that is installed: `postgresql-15`.
fn source_package() -> Result<String> {
    let bin = apt::postgres_bin().context("PostgreSQL is not installed")?;
    let version = bin
        .parent()
        .and_then(Path::file_name)
        .context("PostgreSQL is in no directory of its version")?;
    Ok(format!("postgresql-{}", version.to_string_lossy()))
}

/// apt with lists of sources of its own: the machine's configuration is read and not changed.
struct SourceApt {
    place: PathBuf,
}

impl SourceApt {
    fn new(work: &Path) -> Result<Self> {
        if ground::program("apt-get").is_none() {
            bail!("this distribution has no apt-get, from which the suite's source comes");
        }
        let place = work.join("apt");
        for dir in ["lists/partial", "cache", "got"] {
            fs::create_dir_all(place.join(dir))?;
        }
        let binary = run::captured(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)",
            "Created-By: Packages",
        ]))?;
        let sources = source_lines(&binary);
        if sources.is_empty() {
            bail!("apt knows no repository of the distribution; run `apt-get update`");
        }
        fs::write(place.join("sources.list"), sources)?;
        Ok(Self { place })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &Path| {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        };
        option("Dir::Etc::sourcelist", &self.place.join("sources.list"));
        option("Dir::Etc::sourceparts", Path::new("/dev/null"));
        option("Dir::State::lists", &self.place.join("lists"));
        option("Dir::Cache", &self.place.join("cache"));
        // Where apt's own user cannot write: the directory is ours.
        if ground::is_root() {
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        run::quiet(
            "regress-lists",
            self.command("apt-get").args(["-q", "update"]),
        )
    }

    /// The newest version's archive that the mirrors still have: a list may be ahead of them. apt
    /// checks it against the signed lists.
    fn fetch_newest(&self, package: &str) -> Result<PathBuf> {
        let mut show = self.command("apt-cache");
        let text = run::captured(show.args(["showsrc", "--only-source", package]))?;
        let mut last = None;
        for version in versions(&text) {
            let mut get = self.command("apt-get");
            get.current_dir(self.place.join("got"));
            get.args(["-q", "source", "--download-only", "--tar-only"]);
            get.arg(format!("{package}={version}"));
            let got = run::quiet("regress-source", &mut get);
            let archive = apt::under(self.place.join("got"))
                .into_iter()
                .find(|file| file.to_string_lossy().contains(".orig.tar."));
            match (got, archive) {
                (Ok(()), Some(archive)) => return Ok(archive),
                (Ok(()), None) => bail!("the source package {package} has no archive"),
                (Err(error), _) => {
                    println!("  {package} {version} is not to be had; trying an older one");
                    last = Some(error);
                }
            }
        }
        Err(match last {
            Some(error) => error.context("no version of the regression suite could be fetched"),
            None => anyhow::anyhow!("apt knows no source package {package}"),
        })
    }
}

/// `deb-src` lines for the distribution's own repositories.
fn source_lines(targets: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for target in targets.lines() {
        let mut words = target.split(' ');
        let (Some(uri), Some(release), Some(component), Some(origin)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let line = format!("deb-src {uri} {release} {component}\n");
        if matches!(origin, "Debian" | "Ubuntu") && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.concat()
}

/// The versions in `apt-cache showsrc`'s answer, the newest first.
fn versions(showsrc: &str) -> Vec<&str> {
    let mut versions: Vec<&str> = showsrc
        .lines()
        .filter_map(|line| line.strip_prefix("Version: "))
        .collect();
    // Versions of one source package differ in their numbers alone.
    let numbers = |version: &&str| -> Vec<u64> {
        version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    versions.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_distributions_repositories_become_sources_and_each_once() {
        let targets = "http://a.example/debian/ stable main Debian\n\
            http://a.example/debian/ stable main Debian\n\
            https://b.example/ nodistro main . nodistro\n\
            http://a.example/security/ stable-security main Debian\n\
            broken\n";
        assert_eq!(
            source_lines(targets),
            "deb-src http://a.example/debian/ stable main\n\
             deb-src http://a.example/security/ stable-security main\n"
        );
    }

    #[test]
    fn the_newest_version_is_tried_first() {
        let text = "Package: p\nVersion: 15.9-0\nPackage-List: \n\nPackage: p\n\
            Version: 15.18-0+deb12u1\n\nVersion: 15.20-0\n\nVersion: 15.9-0\n";
        assert_eq!(versions(text), ["15.20-0", "15.18-0+deb12u1", "15.9-0"]);
    }
}
