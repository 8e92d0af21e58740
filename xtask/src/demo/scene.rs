//! One scene: a sentence, a command, its real output, and whether it is what the sentence says. A
//! scene that is not true ends the demonstration with an error.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::world::postgres::clean;
use crate::{interrupt, run};

/// What a command did.
pub(crate) struct Done {
    /// Standard output and standard error, in the order in which they were written.
    pub(crate) text: String,
    pub(crate) good: bool,
}

/// How scenes are shown, and where programs are found.
pub(crate) struct Narrator {
    number: usize,
    path: std::ffi::OsString,
    colour: bool,
}

impl Narrator {
    /// `programs` come first on the path.
    pub(crate) fn new(programs: &[PathBuf]) -> Result<Self> {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let all = programs.iter().cloned().chain(std::env::split_paths(&rest));
        let path = std::env::join_paths(all).context("a program's directory has a colon")?;
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Ok(Self {
            number: 0,
            path,
            colour,
        })
    }

    /// The scene's heading.
    pub(crate) fn heading(&mut self, says: &str) {
        self.number += 1;
        println!("\n{}", self.dyed("1", &format!("{}. {says}", self.number)));
    }

    /// A sentence.
    pub(crate) fn says(&self, sentence: &str) {
        println!("   {}", self.dyed("32", sentence));
    }

    /// Shows a command, runs it, and shows what it said. `shown` are the environment variables that
    /// belong to the story.
    pub(crate) fn runs(&self, shown: &[(&str, &str)], words: &[&str]) -> Result<Done> {
        self.begins(shown, words)?.ends()
    }

    /// The same, of a command that goes on while others run. What it says is shown at its end.
    pub(crate) fn begins(&self, shown: &[(&str, &str)], words: &[&str]) -> Result<Running> {
        interrupt::check()?;
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments);
        clean(&mut command);
        command
            .env("PATH", &self.path)
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LOG");
        let mut line = String::from("$ ");
        for (name, value) in shown {
            command.env(name, value);
            line += &format!("{name}={} ", run::quoted(value));
        }
        line += &run::line(&command);
        println!("   {}", self.dyed("36", &line));
        // One pipe for both, so that what was said keeps its order.
        let (reader, writer) = std::io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        Ok(Running { child, reader })
    }

    /// What a command says, without showing it.
    pub(crate) fn asks(&self, words: &[&str]) -> Result<String> {
        interrupt::check()?;
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(arguments);
        clean(&mut command);
        let said = command.env("PATH", &self.path).output()?;
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    fn dyed(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A command that was begun.
pub(crate) struct Running {
    child: std::process::Child,
    reader: std::io::PipeReader,
}

impl Running {
    /// Waits for its end, and shows what it said.
    pub(crate) fn ends(mut self) -> Result<Done> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes)?;
        let good = self.child.wait()?.success();
        interrupt::check()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for line in text.trim_end().lines() {
            println!("   {line}");
        }
        Ok(Done { text, good })
    }
}

impl Done {
    /// It succeeded.
    pub(crate) fn succeeds(self) -> Result<Self> {
        if !self.good {
            bail!("the story is not true: the command failed");
        }
        Ok(self)
    }

    /// It failed, as it should.
    pub(crate) fn fails(self) -> Result<Self> {
        if self.good {
            bail!("the story is not true: the command succeeded");
        }
        Ok(self)
    }

    /// It said this.
    pub(crate) fn says(self, words: &str) -> Result<Self> {
        if !self.text.to_lowercase().contains(&words.to_lowercase()) {
            bail!("the story is not true: nothing says {words:?}");
        }
        Ok(self)
    }

    /// It did not say this.
    pub(crate) fn hides(self, words: &str) -> Result<Self> {
        if self.text.contains(words) {
            bail!("the story is not true: {words:?} was shown");
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_that_is_not_true_is_an_error() {
        let done = |good, text: &str| Done {
            text: text.to_owned(),
            good,
        };
        assert!(done(true, "x").succeeds().is_ok());
        assert!(done(false, "x").succeeds().is_err());
        assert!(done(false, "x").fails().is_ok());
        assert!(done(true, "x").fails().is_err());
        assert!(
            done(true, "Connection refused")
                .says("connection refused")
                .is_ok()
        );
        assert!(done(true, "welcome").says("refused").is_err());
        assert!(done(true, "***6789").hides("123-45-6789").is_ok());
        assert!(done(true, "123-45-6789").hides("123-45-6789").is_err());
    }

    #[test]
    fn both_outputs_are_kept_in_their_order() {
        let narrator = Narrator::new(&[]).unwrap();
        let done = narrator
            .runs(&[], &["sh", "-c", "echo 1; echo 2 >&2; echo 3"])
            .unwrap();
        assert_eq!(done.text, "1\n2\n3\n");
    }
}
