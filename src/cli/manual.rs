//! `hookferry completions` and `hookferry man`: what the command line says of itself, for shells and for `man`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// Prints the completions of `shell`.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hookferry", &mut script);
    super::print(&String::from_utf8(script)?)
}

/// The manual page, or one file a command in a directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the pages of all commands into this directory instead: hookferry.1, hookferry-events-list.1 …
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the page of `hookferry`, or writes those of all commands.
///
/// # Errors
/// Standard output or a file cannot be written.
pub fn man(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        return pages(dir).with_context(|| format!("cannot write into {}", dir.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(built()).render(&mut page)?;
    super::print(&String::from_utf8(page)?)
}

fn pages(dir: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(built(), dir)?;
    Ok(ExitCode::SUCCESS)
}

fn built() -> clap::Command {
    // `help` explains no command of its own.
    Cli::command().disable_help_subcommand(true)
}
