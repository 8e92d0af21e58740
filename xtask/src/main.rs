//! Every chore of this project, as `cargo xtask VERB`. This file is the list of verbs; each verb
//! lives in a file of its own name.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool: its results go to standard output"
)]

mod ground;
mod run;
mod compile;
mod interrupt;
mod install;
mod layers;
mod r#gen;
mod check;
mod fuzz;
mod test;
mod vm;
mod world;
mod demo;
mod bench;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Every chore of node-agent",
    after_help = "Examples:\n  \
        cargo xtask demo                 watch one governed session, start to end\n  \
        cargo xtask test                 everything: unit, golden, end-to-end, kernel\n  \
        cargo xtask test kernel          only what needs root and a kernel\n  \
        cargo xtask check                what must be clean before a merge\n  \
        cargo xtask fuzz --seconds 60    every fuzz target for a minute\n  \
        cargo xtask bench --quick        a short run of the benchmark",
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building, running, testing, checking or measuring needs
    Install(install::Arguments),
    /// Formatting, lints, licences, layers, references and documents: what a merge must pass
    Check(check::Arguments),
    /// Watch one governed session, start to end, with real programs
    Demo(demo::Arguments),
    /// Import order and purity of the rooms
    Layers(layers::Arguments),
    /// Unit, golden, end-to-end and kernel tests; installs what they need
    Test(test::Arguments),
    /// Random inputs against every `fuzz_` test
    Fuzz(fuzz::Arguments),
    /// The agent beside a direct connection, a bare relay and PgBouncer
    Bench(bench::Arguments),
    /// The benchmark's own client and relay, as processes of their own
    #[command(hide = true)]
    BenchPart {
        #[command(subcommand)]
        part: bench::client::Part,
    },
    /// The generated references under docs/reference
    Gen(r#gen::Arguments),
    /// Kernel tests in other kernels: 6.1 under emulation, or virtual machines by vagrant
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    let done = match &verb {
        // These are ended by whoever started them, at once.
        Verb::BenchPart { part } => bench::client::main(part),
        verb => interrupt::watch().and_then(|()| run(verb)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Install(arguments) => install::main(arguments),
        Verb::Check(arguments) => check::main(arguments),
        Verb::Demo(arguments) => demo::main(arguments),
        Verb::Layers(arguments) => layers::main(arguments),
        Verb::Test(arguments) => test::main(arguments),
        Verb::Fuzz(arguments) => fuzz::main(arguments),
        Verb::Bench(arguments) => bench::main(arguments),
        Verb::BenchPart { part } => bench::client::main(part),
        Verb::Gen(arguments) => r#gen::main(arguments),
        Verb::Vm(arguments) => vm::main(arguments),
    }
}
