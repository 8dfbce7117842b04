//! The command line: one file a command.

pub mod api;
pub mod check;
pub mod dead;
pub mod events;
mod healthcheck;
pub mod http;
mod manual;
mod progress;
pub mod providers;
pub mod remote;
pub mod send;
mod serve;
pub mod tail;
pub mod trust;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config};
use crate::telemetry::log;

/// Exit status where the command line or the configuration is wrong.
pub const WRONG: u8 = 2;

/// What stands below the options, and in the manual page.
const NOTES: &str = "\
Exit status: 0 done; 2 the command line or the configuration is wrong; 1 anything else.

Without a file the embedded default serves: `hookferry config default` shows it. HOOKFERRY__SECTION__KEY in the \
environment sets the key of any section. To try it: `hookferry`, in a second terminal `hookferry tail`, in a third \
`hookferry send demo`.";

/// Webhook-to-queue bridge: verifies who sent a webhook, syncs it to disk, answers, and ferries it to
/// Redis Streams, RabbitMQ or SQS.
#[derive(Debug, Parser)]
#[command(name = "hookferry", version, about, long_about = None, propagate_version = true, after_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    files: Files,
    /// Shape of the log lines on standard error
    #[arg(long, global = true, value_enum, default_value_t, env = "HOOKFERRY_LOG_FORMAT")]
    log_format: log::Format,
    /// Least level of the log lines: error, warn, info, debug or trace
    #[arg(long, global = true, value_enum, ignore_case = true, default_value = "info", env = "HOOKFERRY_LOG")]
    log: log::Level,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct Files {
    /// Configuration file (.toml, .yaml or .json); later ones win. None: the embedded default
    #[arg(long = "config", value_name = "FILE", global = true)]
    pub config: Vec<PathBuf>,
}

impl Files {
    /// Loads the files, and the environment over them.
    ///
    /// # Errors
    /// Every mistake of all layers.
    pub fn load(&self) -> Result<Config, config::Errors> {
        self.origin().load()
    }

    /// Where it comes from, to be read again.
    pub fn origin(&self) -> config::Origin {
        config::Origin::new(self.config.clone(), config::environment())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge (also without a command)
    Serve,
    /// Check the configuration and say what each source and backend will do
    Check {
        /// Also reach every backend, and say what would lose data there
        #[arg(long)]
        connect: bool,
    },
    Send(send::Args),
    Tail(tail::Args),
    Events(events::Args),
    Dead(dead::Args),
    Healthcheck(healthcheck::Args),
    Providers(providers::Args),
    /// Print the annotated default configuration, or the schema of every configuration
    Config {
        #[command(subcommand)]
        what: What,
    },
    /// Print the completions of a shell, e.g. `hookferry completions bash > /etc/bash_completion.d/hookferry`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, e.g. `hookferry man | man -l -`
    Man(manual::Args),
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every option with its default
    Default,
    /// The JSON Schema (draft 2020-12) that every configuration file meets, for editors and CI
    Schema,
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Libraries ask for it, and panic where there is none. It fails only if there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let started = log::start(cli.log_format, cli.log);
    let result = started.map_err(anyhow::Error::from).and_then(|()| dispatch(cli));
    match result {
        Ok(code) => code,
        Err(error) => {
            match error.downcast_ref::<config::Errors>() {
                // A line a mistake, and each begins with its file.
                Some(errors) => complain(&format!("{errors}\n")),
                None => note(&format!("{error:#}")),
            }
            let wrong = error.is::<config::Errors>() || error.is::<Wrong>();
            ExitCode::from(if wrong { WRONG } else { 1 })
        }
    }
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let files = cli.files;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let runtime = runtime()?;
            let result = runtime.block_on(serve::run(&files));
            // What must be on disk is: what still hangs there, such as the look-up of a broker's name, would keep the
            // process for as long as it takes.
            runtime.shutdown_background();
            result
        }
        Command::Check { connect } => check(connect, &files),
        Command::Send(args) => send::run(args, &files),
        Command::Tail(args) => tail::run(&args, &files),
        Command::Events(args) => events::run(&args, &files),
        Command::Dead(args) => dead::run(&args, &files),
        Command::Healthcheck(args) => healthcheck::run(args, &files),
        Command::Providers(args) => providers::run(&args, &files),
        Command::Config { what: What::Default } => print(check::default_config()),
        Command::Config { what: What::Schema } => print(&format!("{:#}\n", config::schema())),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man(args) => manual::man(&args),
    }
}

/// Threads of the lanes; the ingress and the journal have their own.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn check(connect: bool, files: &Files) -> anyhow::Result<ExitCode> {
    let config = files.load()?;
    print(&check::describe(&config))?;
    if !connect {
        return Ok(ExitCode::SUCCESS);
    }
    let (findings, good) = runtime()?.block_on(check::lint(check::backends(&config)));
    print(&findings)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes `text` to standard output; a reader that went away is not an error.
///
/// # Errors
/// Standard output cannot be written for another reason.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Says something beside the output; nobody need read it.
pub fn note(text: &str) {
    complain(&format!("hookferry: {text}\n"));
}

/// `eprint!` panics where standard error is closed.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn no_two_options_of_a_command_clash() {
        super::Cli::command().debug_assert();
    }
}
