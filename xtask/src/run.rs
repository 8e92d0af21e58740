//! Running other programs: shown, captured, or quiet with the end of the log shown on failure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ground;
use crate::interrupt;

/// How much of a quiet program's log is shown when it fails.
const TAIL_LINES: usize = 40;

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    words.join(" ")
}

/// One shell word.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.contains('"') && !word.contains('$') && !word.contains('`') && !word.contains('\\') {
        return format!("\"{word}\"");
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs with our own output; an exit status other than 0 is an error.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    interrupt::check()?;
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    interrupt::check()?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Runs and gives standard output; an exit status other than 0 is an error with what it said.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    interrupt::check()?;
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    interrupt::check()?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether it starts and exits with 0; its words are thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs with its words in `target/xtask/NAME.log`; a failure shows the end of that file.
pub(crate) fn quiet(name: &str, command: &mut Command) -> Result<()> {
    interrupt::check()?;
    let log = log_file(name)?;
    let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    interrupt::check()?;
    if !status.success() {
        bail!(
            "{} ended with {status}; the end of {}:\n{}",
            line(command),
            log.display(),
            tail(&log)
        );
    }
    Ok(())
}

/// The log file of a quiet program.
pub(crate) fn log_file(name: &str) -> Result<PathBuf> {
    let dir = ground::target().join("xtask");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir.join(format!("{name}.log")))
}

/// The last lines of a file.
pub(crate) fn tail(file: &Path) -> String {
    let text = fs::read(file).map(|b| String::from_utf8_lossy(&b).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_reads_as_it_would_be_typed() {
        let table = [
            ("plain", "plain"),
            ("two words", "\"two words\""),
            ("", "\"\""),
            ("say \"x\"", "'say \"x\"'"),
            ("it's", "\"it's\""),
            ("a'b\"c", "'a'\\''b\"c'"),
        ];
        for (word, expected) in table {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_failing_program_is_an_error_that_says_what_it_said() {
        let error = captured(Command::new("sh").args(["-c", "echo no room >&2; exit 3"]));
        let text = format!("{:#}", error.unwrap_err());
        assert!(
            text.contains("no room") && text.contains("exit status: 3"),
            "{text}"
        );
    }
}
